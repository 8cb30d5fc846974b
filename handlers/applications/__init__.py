"""Application mails: from the text of a mail to a checked application. Nothing here touches a store."""
