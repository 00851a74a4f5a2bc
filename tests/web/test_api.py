"""The API over HTTP, in front of a real service: who may what, and what hostile clients get."""

from __future__ import annotations

import base64
import contextlib
import csv
import os
import signal
import socket
import time
from collections.abc import Iterator

import demo_clip
import httpx
import psutil
import pytest

from jetson_face.web.guard import SMALL_MAX
from tests.waiting import until
from tests.web.web_box import PASSWORDS, WebBox, web_box

pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebBox]:
    with web_box(tmp_path_factory.mktemp("w")) as box:
        yield box


def problem(answer: httpx.Response, status: int) -> str:
    """The detail of an error in our one form."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    known = answer.json()
    assert (known["status"], known["type"]) == (status, "about:blank")
    return str(known["detail"])


def picture(who: str) -> dict[str, str]:
    path = demo_clip.portrait_path(who)
    return {"label": path.name, "data": base64.b64encode(path.read_bytes()).decode()}


def test_nobody_gets_anything_without_signing_in(box: WebBox) -> None:
    client = box.client(None)
    schema = client.get("/openapi.json").json()
    tried = 0
    for path, operations in schema["paths"].items():
        for method in operations:
            if (method, path) != ("post", "/api/v1/session"):
                url = path.removeprefix("/api/v1").replace("{number}", "1")
                for part in ("person", "template", "camera"):
                    url = url.replace(f"{{{part}}}", "x")
                url = url.replace("{event}", "01890000-0000-7000-8000-000000000000")
                assert problem(client.request(method, url), 401)
                tried += 1
    assert tried > 25
    assert problem(client.get("/people", headers={"Cookie": "jetson-face=guess"}), 401)


def test_a_change_needs_the_token_of_the_session(box: WebBox) -> None:
    client = box.client("admin")
    del client.headers["X-CSRF-Token"]
    wanted = {"changes": {"log_level": "INFO"}}
    problem(client.post("/settings/check", json=wanted), 403)
    problem(client.post("/settings/check", json=wanted, headers={"X-CSRF-Token": "x"}), 403)
    fresh = client.get("/session").json()["csrf"]
    headers = {"X-CSRF-Token": fresh}
    assert client.post("/settings/check", json=wanted, headers=headers).json()["valid"]
    evil = headers | {"Origin": "https://evil.example"}
    problem(client.post("/settings/check", json=wanted, headers=evil), 403)


def test_roles(box: WebBox) -> None:
    viewer, operator = box.client("viewer"), box.client("operator")
    assert viewer.get("/people").status_code == 200
    problem(viewer.post("/people", json={}), 403)
    problem(viewer.post("/review/decide", json={"answers": [{"number": 1, "answer": "no"}]}), 403)
    problem(operator.get("/settings"), 403)
    problem(operator.get("/audit"), 403)
    problem(operator.delete("/people/x"), 403)
    problem(operator.post("/review/decide", json={"answers": []}), 422)


def test_a_session_ends_with_the_password_and_by_signing_out(box: WebBox) -> None:
    box.accounts.set_password("temp", "passing word 1", "viewer")
    client = box.client(None)
    wanted = {"user": "temp", "password": "passing word 1"}
    assert client.post("/session", json=wanted).status_code == 200
    assert client.get("/session").json()["user"] == "temp"
    box.accounts.set_password("temp", "passing ward 2", "viewer")
    problem(client.get("/session"), 401)
    other = box.client("viewer")
    cookie = f"jetson-face={other.cookies['jetson-face']}"
    assert other.delete("/session").status_code == 204
    problem(box.client(None).get("/session", headers={"Cookie": cookie}), 401)


def test_a_program_shows_a_token(box: WebBox) -> None:
    shown = box.accounts.add_token("nodered", "operator")
    client = box.client(None)
    client.headers["Authorization"] = f"Bearer {shown}"
    assert client.get("/session").json() == {"user": "nodered", "role": "operator", "csrf": None}
    problem(client.get("/settings"), 403)
    client.headers["Authorization"] = "Bearer jf_guess"
    problem(client.get("/session"), 401)


def test_people_through_the_api_and_who_did_it(box: WebBox) -> None:
    operator, admin = box.client("operator"), box.client("admin")
    wanted = {"name": "Eileen", "pictures": [picture("collins")]}
    answer = operator.post("/people", json=wanted, headers={"Idempotency-Key": "one"})
    assert answer.status_code == 201
    again = operator.post("/people", json=wanted, headers={"Idempotency-Key": "one"})
    assert again.json() == answer.json()
    who = answer.json()["id"]
    for query in ({"name": "eileen"}, {"search": "ile"}):
        assert [one["id"] for one in operator.get("/people", params=query).json()["items"]] == [who]
    assert operator.get("/people", params={"name": "ile"}).json() == {"items": [], "next": None}
    problem(operator.get("/people?name="), 422)
    assert operator.get(f"/people/{who}/portrait").content[:3] == b"\xff\xd8\xff"
    found = operator.post("/identify", content=demo_clip.portrait_path("collins").read_bytes())
    assert [face["name"] for face in found.json()["faces"]] == ["Eileen"]
    problem(operator.post("/identify", content=b"no picture"), 422)
    receipt = admin.delete(f"/people/{who}").json()
    assert receipt["complete"]
    entries = admin.get("/audit").json()["items"]
    actors = {one["action"]: one["actor"].split("@")[0] for one in entries}
    assert (actors["enrolled"], actors["erased"]) == ("web:operator", "web:admin")
    assert admin.get("/receipts").json()["items"][0]["person"] == who


def test_consent_last_seen_and_the_list_of_whom_not_to_recognise(box: WebBox) -> None:
    viewer, operator, admin = (box.client(role) for role in ("viewer", "operator", "admin"))
    wanted = {"name": "Ada", "pictures": [picture("collins")], "force": True}
    who = operator.post("/people", json=wanted).json()["id"]
    consent = {"given_by": "Ada", "given": "2026-01-01", "until": "2026-06-30", "text": "v3"}
    problem(viewer.put(f"/people/{who}/consent", json=consent), 403)
    problem(operator.put(f"/people/{who}/consent", json=consent | {"given": "soon"}), 422)
    row = operator.put(f"/people/{who}/consent", json=consent).json()
    assert (row["state"], row["until"]) == ("expired", "2026-06-30")
    assert viewer.get("/consents").json()["items"] == [row]
    problem(operator.put(f"/people/{who}/do-not-recognise", json={"on": True}), 403)
    problem(admin.put(f"/people/{who}/do-not-recognise", json={"on": 1}), 422)
    hidden = admin.put(f"/people/{who}/do-not-recognise", json={"on": True}).json()
    assert (hidden["do_not_recognise"], hidden["erased"]["review_items"]) == (True, 0)
    found = operator.post("/identify", content=demo_clip.portrait_path("collins").read_bytes())
    assert [face["name"] for face in found.json()["faces"]] == [None]
    shown = viewer.get(f"/people/{who}").json()
    assert (shown["do_not_recognise"], shown["last_seen"]) == (True, None)
    assert operator.delete(f"/people/{who}/consent").json()["state"] == "none"
    acts = {
        one["action"]: one["actor"].split("@")[0] for one in admin.get("/audit").json()["items"]
    }
    assert (acts["withheld"], acts["consent_recorded"]) == ("web:admin", "web:operator")
    admin.delete(f"/people/{who}")


def test_the_log_of_use(box: WebBox) -> None:
    problem(box.client("operator").get("/use"), 403)
    admin = box.client()
    period = admin.get("/use").json()["items"][0]
    assert (period["record"], period["end"], period["cameras"]) == ("period", None, ["door"])
    rows = list(csv.DictReader(admin.get("/use/export").text.splitlines()))
    assert [row["record"] for row in rows][:2] == ["period", "database"]
    assert admin.get("/use/export?format=json").json()[0] == period
    problem(admin.get("/use?cursor=events-1"), 422)


def test_frames_and_a_stream_of_them(box: WebBox) -> None:
    client = box.client("viewer")
    answer = client.get("/cameras/door/frame")
    assert answer.headers["content-type"] == "image/jpeg"
    assert '"seq"' in answer.headers["x-frame"]
    problem(client.get("/cameras/nowhere/frame"), 404)
    with client.stream("GET", "/cameras/door/stream.mjpeg") as stream:
        parts = b""
        for chunk in stream.iter_bytes():
            parts += chunk
            if parts.count(b"--frame\r\n") > 2:
                break
    assert b"Content-Type: image/jpeg\r\n" in parts


def test_who_reads_nothing_keeps_nobody_from_seeing_pictures(box: WebBox) -> None:
    client = box.client("viewer")
    process = psutil.Process(box.process.pid)
    with contextlib.ExitStack() as stack:
        for _ in range(5):
            stack.enter_context(client.stream("GET", "/cameras/door/stream.mjpeg?width=1920"))
        before = process.memory_info().rss
        seen: set[str] = set()
        end = time.monotonic() + 2
        while time.monotonic() < end:
            seen.add(client.get("/cameras/door/frame").headers["x-frame"])
        assert process.memory_info().rss - before < 8 << 20
    assert len(seen) > 5


def test_the_page_is_small_loads_nothing_else_and_says_so(box: WebBox) -> None:
    client = httpx.Client(base_url=box.url)
    page = client.get("/")
    policy = page.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'")
    assert page.headers["x-content-type-options"] == "nosniff"
    names = ["app.js", "api.js", "dom.js", "app.css", "icon.svg", "live.js"]
    size = len(page.content) + sum(len(client.get(f"/static/{n}").content) for n in names)
    assert size < 250_000
    for name in names:
        assert "://" not in client.get(f"/static/{name}").text.replace("http://www.w3.org/", "")
    assert client.get("/static/..%2fapp.py").status_code == 404
    assert client.get("/static/../app.py").status_code == 404
    tag = page.headers["etag"]
    assert client.get("/", headers={"If-None-Match": tag}).status_code == 304


def test_hostile_requests(box: WebBox) -> None:
    client = box.client("admin")
    problem(client.get("/people", headers={"Host": "evil.example"}), 421)
    problem(client.get("/people", headers={"Host": "127.0.0.1.evil.example"}), 421)
    problem(client.post("/settings/check", content=b"x" * (SMALL_MAX + 1)), 413)
    problem(client.post("/settings/check", content=b"{" * 1000), 422)
    problem(client.get("/people/..%2F..%2Fetc"), 404)
    problem(client.get("/people/a%00b"), 422)
    problem(client.get("/people?limit=99999999"), 422)
    problem(client.get("/events?cursor=nonsense"), 422)
    problem(client.put("/people"), 405)
    problem(client.get("/nothing"), 404)

    def endless() -> Iterator[bytes]:
        for _ in range(200):
            yield b"x" * 100_000

    problem(client.post("/settings/check", content=endless()), 413)
    problem(client.post("/identify", content=endless()), 411)


@pytest.mark.slow
def test_who_says_nothing_is_cut_off(box: WebBox) -> None:
    with socket.create_connection(("127.0.0.1", box.port)) as sock:
        sock.settimeout(30)
        sock.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: ")
        began = time.monotonic()
        assert sock.recv(10) == b""
        assert time.monotonic() - began < 15


def test_the_page_process_stays_small(box: WebBox) -> None:
    assert psutil.Process(box.process.pid).memory_info().rss < 120 << 20


def test_it_reconnects_after_the_recogniser_restarts(box: WebBox) -> None:
    client = box.client("viewer")
    assert client.get("/health").status_code == 200
    box.service.close()
    problem(client.get("/health"), 503)
    assert client.get("/health").headers["retry-after"] == "2"
    box.service.start()
    assert client.get("/health").json()["ready"]
    assert client.get("/cameras/door/frame").status_code == 200


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGSTOP, signal.SIGKILL])
def test_the_recogniser_notices_nothing_of_the_page(box: WebBox, how: signal.Signals) -> None:
    client = box.client("viewer")
    assert client.get("/cameras/door/frame").status_code == 200
    before = box.service.status()["cameras"]["door"]
    os.kill(box.process.pid, how)
    time.sleep(3)
    after = box.service.status()["cameras"]["door"]
    assert after["processed"] - before["processed"] >= 35  # 15 a second
    assert after["dropped"] == before["dropped"]
    if how == signal.SIGSTOP:
        os.kill(box.process.pid, signal.SIGCONT)
        until(box.answers)
    else:
        box.process.wait()
        box.start()


def test_a_box_of_no_fleet_has_nothing_of_one(box: WebBox) -> None:
    admin = box.client("admin")
    assert admin.get("/fleet").json() == {"configured": False, "here": None}
    for path in ("/fleet/boxes", "/fleet/people", "/fleet/erasures", "/fleet/metrics"):
        assert "belongs to no fleet" in problem(admin.get(path), 404)
    assert "belongs to no fleet" in problem(admin.delete("/fleet/people/x"), 404)
    assert not (box.service.state / "fleet-link.json").exists()


def test_wrong_passwords_are_slowed_down(box: WebBox) -> None:
    client = box.client(None)
    wrong = {"user": "admin", "password": "wrong"}
    for _ in range(5):
        assert problem(client.post("/session", json=wrong), 401) == "user or password is wrong"
    right = {"user": "admin", "password": PASSWORDS["admin"]}
    answer = client.post("/session", json=right)
    problem(answer, 429)
    assert 0 < int(answer.headers["retry-after"]) <= 300
