"""NACCS EDI messages: reading requests, checking them, and writing what the gateway answers itself."""
