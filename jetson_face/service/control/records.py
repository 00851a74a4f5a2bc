"""What was done by whom, and the receipts of erasures."""

from __future__ import annotations

import json
from dataclasses import asdict

from jetson_face.core.errors import UsageError
from jetson_face.service.control.desk import Desk
from jetson_face.service.control.http import ControlError, ControlRequest, Reply, Route
from jetson_face.service.control.values import page
from jetson_face.service.erasure import audit_log
from jetson_face.service.use_report import report_page


class Records:
    """`/audit` and `/receipts`, newest first, and `/use`."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self.routes: tuple[Route, ...] = (
            ("GET", "/audit", self.audit),
            ("GET", "/receipts", self.receipts),
            ("GET", "/use", self.use),
        )

    def audit(self, request: ControlRequest) -> Reply:
        """Entries of the audit log; the cursor counts them from the first one ever."""
        entries = audit_log(self._desk.config).read()
        limit = request.number("limit", 100, 500)
        end = len(entries)
        if "cursor" in request.query:
            end = min(end, request.number("cursor", end + 1, 10**9))
        start = max(0, end - limit)
        rows = [asdict(entry) for entry in reversed(entries[start:end])]
        return page(rows, str(start) if start else None)

    def use(self, request: ControlRequest) -> Reply:
        """The log of use: periods with their reference databases, who verified, and matches."""
        query, limit = request.query, request.number("limit", 100, 500)
        try:
            rows, cursor = report_page(
                self._desk.config,
                query.get("since"),
                query.get("until"),
                query.get("cursor"),
                limit,
            )
        except UsageError as error:
            raise ControlError(400, str(error)) from None
        return page(rows, cursor)

    def receipts(self, request: ControlRequest) -> Reply:
        """Of people who were removed."""
        folder = self._desk.config.state_dir / "receipts"
        limit, rows = request.number("limit", 100, 500), []
        names = sorted((path.name for path in folder.glob("removed-*.json")), reverse=True)
        cursor = request.query.get("cursor")
        if cursor is not None:
            names = [name for name in names if name < cursor]
        for name in names[:limit]:
            try:
                rows.append(json.loads((folder / name).read_text("utf-8")) | {"file": name})
            except (OSError, ValueError) as error:
                raise ControlError(409, f"{name}: cannot be read: {error}") from error
        return page(rows, names[limit - 1] if len(names) > limit else None)
