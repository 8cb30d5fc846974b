"""Where a lane leads now: the terminal behind a mail's address row by today's map, or the smarthost."""

from __future__ import annotations

from gateway.current_map import CurrentMap
from gateway.lane_holder import Gone
from gateway.settings import Settings
from gateway.smtp_out import Protocol, Target, Tls
from handlers.calendar import jst_date
from storage.clock import Clock
from storage.mail_queue import Outbound


class Routes:
    """Asked before each mail, so that a change of the map holds for the next one."""

    def __init__(self, current_map: CurrentMap, clock: Clock, settings: Settings) -> None:
        self._map = current_map
        self._clock = clock
        self._terminal_port = settings.naccs.terminal_port
        smarthost = settings.smarthost
        self._smarthost = Target(
            host=smarthost.host, port=smarthost.port, protocol=Protocol.ESMTP, tls=Tls(str(smarthost.tls))
        )

    async def where(self, lane: str, outbound: Outbound) -> Target | Gone:
        """The server for a mail of that lane.

        A mail belongs to the address row it was bound to: another row with the same address is another owner's.
        Nothing is gone, nor any mail sent that was queued by a newer map, before the store was asked for its map.
        """
        if lane.startswith("smarthost:"):
            return self._smarthost
        if (outbound.map_version or 0) <= self._map.view.version:
            found = self._by_map(lane, outbound)
            if isinstance(found, Target):
                return found
        await self._map.refresh()
        return self._by_map(lane, outbound)

    def _by_map(self, lane: str, outbound: Outbound) -> Target | Gone:
        binding = self._map.view.binding_of_row(outbound.rcpt_to.lower(), outbound.address_id)
        if binding is None or not binding.applies(jst_date(self._clock.now())):
            return Gone(f"{outbound.rcpt_to} is not bound to this terminal today")
        if binding.lane != lane or binding.ip is None:
            return Gone(f"{outbound.rcpt_to} has no SMTP server on this lane")
        return Target(host=binding.ip, port=binding.port or self._terminal_port)
