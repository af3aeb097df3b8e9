"""`assay review` and `assay decide`: what needs a person is shown, and what is decided is written down."""

import csv
import http.client
import json
import shutil
import threading
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

import assay
from assay.cli import app
from assay.desk import Desk
from assay.queue import KINDS, Queue
from assay.result import plain
from assay.reviewing import Reviewed, Session, page, server
from assay.reviewing import shown as shown_case
from curate.errors import AssayError
from curate.rows.decisions import read
from tests.browser import PHONE, Browser, assert_accessible, keep
from tests.documented import missing
from tests.project import Project

ROWS = [
    *(
        {"text": f"{n} {word} boxes hold {n + 1} balls of the {word} kind each", "colour": "red", "count": n}
        for n, word in enumerate(["apple", "birch", "cedar", "elder", "fir"])
    ),
    *({"text": "Which of both answers is it that you give", "colour": each, "count": 3} for each in ("red", "blue")),
    *(
        {
            "text": f"The red box on the upper shelf holds nine small round balls for a game {word}",
            "colour": colour,
            "count": 2,
        }
        for word, colour in (("there", "red"), ("here", "blue"))
    ),
    {
        "text": "<script>document.title = 'owned'</script><img src=x onerror=alert(1)> \u202egnp.x",
        "colour": "purple",
        "count": 1,
    },
    {"text": "A colour that is none of those", "colour": "purple", "count": 1},
]


@pytest.fixture(scope="module")
def curated(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project of which a version is published."""
    made = Project(
        tmp_path_factory.mktemp("review"), decisions="decisions.jsonl", fit={"model": "tokenizer", "max_tokens": 300}
    )
    made.add("rows.jsonl", ROWS)
    (made.folder / "decisions.jsonl").touch()
    made.curate()
    return made


@pytest.fixture
def project(curated: Project) -> Project:
    """Nothing is decided yet."""
    (curated.folder / "decisions.jsonl").write_text("")
    return curated


def desk_of(project: Project, who: str = "anna") -> Desk:
    return Desk(project.recipe_path, who=who, store=project.folder / "store")


def written(project: Project) -> list[tuple[str, str, Any]]:
    return [(each.action, each.who, each.value) for each in read(project.folder / "decisions.jsonl")]


def id_of(desk: Desk, text: str, where: str | None = None) -> str:
    (found,) = [
        row["id"]
        for row in desk.rows.to_pylist()
        if row["turns"][0]["content"] == text and where in (None, row["where"])
    ]
    return str(found)


def test_rows_that_could_not_be_made_are_no_hindrance(tmp_path: Path) -> None:
    made = Project(tmp_path, decisions="decisions.jsonl", fit={"model": "tokenizer", "max_tokens": 300})
    made.add("rows.jsonl", [*ROWS, {"colour": "red", "count": 1}])
    (made.folder / "decisions.jsonl").touch()
    made.curate()
    desk = desk_of(made)
    assert "unmappable" in desk.rows["reason"].to_pylist()
    assert Queue(desk).table.num_rows >= 4


@pytest.fixture
def session(project: Project) -> Session:
    desk = desk_of(project)
    return Session(desk, Queue(desk))


@pytest.fixture
def serving(session: Session) -> Iterator[ThreadingHTTPServer]:
    with server(session) as made:
        threading.Thread(target=made.serve_forever, args=(0.01,), daemon=True).start()
        yield made
        made.shutdown()


def ask(
    serving: ThreadingHTTPServer, method: str, path: str, token: str | None, body: Any = None, host: str = "127.0.0.1"
) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", serving.server_port, timeout=30)
    headers = {"Host": host, "Connection": "close"} | ({} if token is None else {"X-Assay-Token": token})
    connection.request(method, path, None if body is None else json.dumps(body), headers)
    got = connection.getresponse()
    return got.status, dict(got.headers), got.read()


def test_what_needs_a_person_is_listed_the_most_useful_first(session: Session) -> None:
    queue = session.queue
    kinds = queue.table["kind"].to_pylist()
    assert kinds == ["conflict", "near", "quarantined", "quarantined"]
    assert [kind for kind in KINDS if kind in kinds] == list(dict.fromkeys(kinds))
    assert {row["kind"]: (row["left"], row["all"]) for row in queue.counts()} == {
        **{"conflict": (1, 1), "near": (1, 1), "quarantined": (2, 2)},
        "quarantined/target_schema": (2, 2),
    }
    assert queue.found("", "RED BOX", False).to_pylist() == [1]
    assert queue.found("quarantined/target_schema", "", True).to_pylist() == [2, 3]
    desk = session.desk
    desk.decide([desk.decision(queue.case(2).id, "drop")])
    assert queue.found("quarantined", "", True).to_pylist() == [3]
    assert [line["decided"] for line in queue.listed([2, 3])] == [True, False]


def test_tables_that_other_stages_publish_are_read(project: Project, tmp_path: Path) -> None:
    """Doubted labels, ungrounded values, wrong answers, stale decisions and disagreements, by the columns they have."""
    desk = desk_of(project)
    one, two = (id_of(desk, row["text"]) for row in ROWS[:2])
    near = {"nearest_given": [{"id": two, "cosine": 0.5}], "nearest_likelier": [], "margin": 0.5}
    doubted = {"id": one, "evidence": json.dumps(near), "given": "red", "likelier": "blue"}
    value = {
        "id": one,
        "field": "count",
        "value": "7",
        "how": "number",
        "became": "flag",
        "nearest": "apple",
        "similarity": 0.5,
    }
    place = {"turn": 0, "begin": 2, "end": 7, "split": "train"}
    said = {"id": one, "action": "drop", "value": None, "reason": "", "who": "ben"}
    said |= {"file": "decisions.jsonl", "line": 1, "because": None}
    tables = {
        "doubted": [doubted],
        "ungrounded": [value | place],
        "decisions": [said | {"outcome": outcome} for outcome in ("stale", "disagreement", "applied")],
    }
    folder = tmp_path / "version"
    folder.mkdir()
    for file in desk.folder.iterdir():
        if file.is_file():
            (folder / file.name).symlink_to(file)
    for name, rows in tables.items():
        (folder / f"{name}.parquet").unlink(missing_ok=True)
        pq.write_table(pa.Table.from_pylist(rows), folder / f"{name}.parquet")
    desk.folder = folder
    queue = Queue(desk)
    cases = {queue.case(number).kind: queue.case(number) for number in range(queue.table.num_rows)}
    assert [*cases] == ["conflict", "doubted", "ungrounded", "near", "quarantined", "disagreement", "stale"]
    assert (cases["doubted"].why, cases["doubted"].beside) == ("red, more likely blue", [two])
    assert cases["disagreement"].why == "ben: drop"
    told = shown_case(Session(desk, queue), cases["ungrounded"])
    assert [text for marked, text in told["rows"][0]["text"] if marked] == ["apple"]


def test_a_decision_is_held_to_the_row_and_the_schema(project: Project) -> None:
    desk = desk_of(project)
    row = id_of(desk, ROWS[0]["text"])
    assert desk.problems('{"colour": "red", "count": 1}') == []
    assert desk.problems('{"colour": "pink", "count": 1}') == ['colour: "pink" is not one of "red", "green" or "blue"']
    assert "no JSON" in desk.problems("{")[0]
    for action, value, problem in (
        ("target", '{"colour": 1}', "This is no answer"),
        ("same", "f" * 32, "has no row"),
        ("same", row, "another row's id"),
        ("sell", None, "action"),
        ("keep", "yes", "keep has no value"),
    ):
        with pytest.raises(AssayError, match=problem):
            desk.decision(row, action, value)
    with pytest.raises(AssayError, match="has no row"):
        desk.decision("0" * 32, "drop")
    assert written(project) == []


def test_what_was_decided_here_is_what_the_row_is_now(project: Project) -> None:
    desk = desk_of(project)
    row = id_of(desk, ROWS[0]["text"])
    for action, value in (("target", '{"colour": "blue", "count": 9}'), ("label", "blue"), ("drop", None)):
        desk.decide([desk.decision(row, action, value)])
    after = project.curate()
    table = pq.read_table(after.folder / "decisions.parquet").to_pylist()
    assert [(each["action"], each["outcome"]) for each in table] == [
        *(("target", "no_effect"), ("label", "no_effect"), ("drop", "applied"))
    ]
    assert after.manifest.decided is not None
    assert "stale" not in after.manifest.decided.outcomes
    again = desk_of(project)
    again.decide([again.decision(row, "undo")])
    assert project.curate().manifest.decided.outcomes == {"applied": 2, "noted": 1, "replaced": 1}  # type: ignore[union-attr]


def test_decide_writes_one_line_or_those_of_a_table_or_none(project: Project, tmp_path: Path) -> None:
    desk, store = desk_of(project), project.folder / "store"
    one, two = (id_of(desk, row["text"]) for row in ROWS[:2])
    done = assay.decide(project.recipe_path, one, "label", "green", reason="it is", who="ben", store=store)
    assert (done.file, done.decisions[0].reason) == (project.folder / "decisions.jsonl", "it is")
    table = tmp_path / "decisions.csv"
    with table.open("w", newline="") as file:
        csv.writer(file).writerows(
            [["id", "action", "value"], [one, "target", '{"colour": "red",\n "count": 5}'], [two, "same", one]]
        )
    assay.decide(project.recipe_path, table=table, who="ben", store=store)
    assert written(project) == [
        *(("label", "ben", "green"), ("target", "ben", {"colour": "red", "count": 5}), ("same", "ben", one))
    ]
    table.write_text(f"id,action\n{one},keep\n{two},sell\n")
    with pytest.raises(AssayError, match=r"decisions.csv, line 3: action: Input should be 'keep'"):
        assay.decide(project.recipe_path, table=table, who="ben", store=store)
    table.write_text("row,action\n")
    with pytest.raises(AssayError, match="its columns are row, action"):
        assay.decide(project.recipe_path, table=table, store=store)
    assert len(written(project)) == 3


def test_both_commands_give_what_is_documented(project: Project, session: Session) -> None:
    row = id_of(session.desk, ROWS[0]["text"])
    given = ["decide", str(project.recipe_path), row, "drop", "--reason", "old", "--who", "ben", "--json"]
    done = CliRunner().invoke(app, [*given, "--store", str(project.folder / "store")])
    assert (done.exit_code, written(project)) == (0, [("drop", "ben", None)])
    decided = assay.decide(project.recipe_path, row, "keep", store=project.folder / "store")
    assert missing("decide", json.loads(json.dumps(plain(decided.data())))) == []
    assert missing("review", Reviewed("http://127.0.0.1:1/", session.desk.file, "demo/1", 3).data()) == []


def test_a_recipe_that_names_no_file_is_told_how(project: Project, tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(project.recipe_path.read_text().replace("decisions: decisions.jsonl\n", ""))
    shutil.copytree(project.folder / "contract", tmp_path / "contract")
    with pytest.raises(AssayError, match="it names no file of decisions") as error:
        Desk(tmp_path / "recipe.yaml", store=project.folder / "store")
    assert "`decisions: decisions.jsonl`" in error.value.remedy


def test_nobody_without_the_token_is_answered(serving: ThreadingHTTPServer, session: Session, project: Project) -> None:
    decision = {"id": session.queue.case(0).id, "action": "drop"}
    for token in (None, "", "x" * 32, session.token[:-1]):
        for method, path in (("GET", "/list?from=0&count=9"), ("GET", "/case?number=0"), ("GET", "/counts")):
            assert ask(serving, method, path, token)[0] == 403
        assert ask(serving, "POST", "/decide", token, decision)[0] == 403
        assert ask(serving, "GET", f"/?token={token or ''}", None)[0] == 403
    assert ask(serving, "POST", f"/decide?token={session.token}", None, decision)[0] == 403, (
        "a link alone decides nothing"
    )
    assert written(project) == []
    assert ask(serving, "POST", "/decide", session.token, decision)[0] == 200
    assert written(project) == [("drop", "anna", None)]


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "", "0.0.0.0"])
def test_another_name_for_this_address_is_answered_nothing(
    serving: ThreadingHTTPServer, session: Session, host: str
) -> None:
    status, _, content = ask(serving, "GET", f"/?token={session.token}", session.token, host=host)
    assert (status, content) == (421, b"another address")


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/case?number=99999", None, 404),
        ("GET", "/case?number=-1", None, 400),
        ("GET", "/list?from=x&count=1", None, 400),
        ("GET", "/../etc/passwd", None, 404),
        ("POST", "/decide", [], 400),
        ("POST", "/decide", {"id": "0" * 32, "action": "drop"}, 400),
        ("POST", "/list", {}, 404),
        ("POST", "/check", {"value": "x" * (5 << 20)}, 413),
    ],
)
def test_what_is_no_request_is_refused(
    serving: ThreadingHTTPServer, session: Session, method: str, path: str, body: Any, status: int
) -> None:
    try:
        assert ask(serving, method, path, session.token, body)[0] == status
    except ConnectionError:  # it has not read what is too long
        assert status == 413


def test_the_page_may_ask_this_server_and_nothing_else(serving: ThreadingHTTPServer, session: Session) -> None:
    assert serving.server_address[0] == "127.0.0.1"
    status, headers, content = ask(serving, "GET", f"/?token={session.token}", None)
    policy = headers["Content-Security-Policy"]
    assert status == 200
    assert policy.startswith(
        "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'; connect-src 'self'"
    )
    assert "unsafe" not in policy
    assert (headers["Referrer-Policy"], headers["Cache-Control"]) == ("no-referrer", "no-store")
    assert b"http://" not in content
    assert b"https://" not in content
    session.desk.who = "<b>x</b>"
    assert "&lt;b&gt;x" in page(session)


# In a browser, by real clicks and keys


@pytest.fixture
def shown(browser: Browser, serving: ThreadingHTTPServer, session: Session) -> Browser:
    browser.call("Emulation.setScriptExecutionDisabled", value=False)
    browser.look(1280, 900)
    browser._load(f"http://127.0.0.1:{serving.server_port}/?token={session.token}")
    wait(browser, "!document.getElementById('shown').hidden")
    return browser


def wait(browser: Browser, condition: str) -> None:
    done = browser.run(
        f"new Promise((done) => {{ const end = Date.now() + 15000; const look = () => ({condition}) ? done(true) :"
        " Date.now() > end ? done(false) : setTimeout(look, 10); look(); })"
    )
    assert done, f"{condition}: {browser.run('document.getElementById(`said`).textContent')}"


def press(browser: Browser, key: str) -> None:
    text = {"text": key} if len(key) == 1 else {}
    code = {"Enter": 13, "Escape": 27, "Tab": 9}.get(key, 0)
    if key == "Enter":
        text = {"text": "\r"}
    browser.call("Input.dispatchKeyEvent", type="keyDown", key=key, windowsVirtualKeyCode=code, **text)
    browser.call("Input.dispatchKeyEvent", type="keyUp", key=key, windowsVirtualKeyCode=code)


def click(browser: Browser, selector: str) -> None:
    x, y = browser.run(
        f"(() => {{ const each = document.querySelector({selector!r}); each.scrollIntoView({{block: 'nearest'}});"
        " const r = each.getBoundingClientRect(); return [r.x + r.width / 2, r.y + r.height / 2]; })()"
    )
    for kind in ("mousePressed", "mouseReleased"):
        browser.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)


STATUS = "document.getElementById('status').textContent"
TITLE = "document.getElementById('what').textContent"


def test_by_the_mouse(shown: Browser, project: Project) -> None:
    assert shown.run(TITLE) == "Conflicts"
    assert shown.run("document.querySelectorAll('article').length") == 2
    assert shown.run("document.querySelectorAll('#rows mark').length") >= 2, "what differs is marked"
    click(shown, "article[data-row='1'] button")
    click(shown, "[data-action='drop']")
    wait(shown, f"{STATUS} === '3 rows'")
    ((action, who, _),) = written(project)
    assert (action, who) == ("drop", "anna")
    wait(shown, f"{TITLE} === 'Alike, other answer'")
    click(shown, "[data-action='different']")
    wait(shown, f"{STATUS} === '2 rows'")
    click(shown, "#undecided")
    wait(shown, f"{STATUS} === '4 rows'")
    assert shown.run("document.title") == "Review demo", "a row is text"


def test_by_the_keyboard_alone(shown: Browser, project: Project) -> None:
    for key in "jj":
        press(shown, key)
    wait(shown, f"{TITLE} === 'Quarantined'")
    press(shown, "e")
    wait(shown, "document.activeElement.id === 'value'")
    shown.run("document.activeElement.select()")
    shown.call("Input.insertText", text='{"colour": "pink", "count": 1}')
    wait(shown, "document.querySelectorAll('#problems li').length >= 1")
    shown.run("document.activeElement.select()")
    shown.call("Input.insertText", text='{"colour": "red", "count": 1}')
    wait(shown, "document.querySelectorAll('#problems li').length === 0")
    for key in ("Tab", "Enter"):
        press(shown, key)
    wait(shown, f"{STATUS} === '3 rows'")
    assert written(project)[-1] == ("target", "anna", {"colour": "red", "count": 1})
    press(shown, "u")
    wait(shown, f"{STATUS} === '4 rows'")
    wait(shown, "document.getElementById('said').textContent === 'Taken back.'")
    assert written(project)[-1][0] == "undo"
    press(shown, "c")
    wait(shown, "document.activeElement.id === 'value'")
    shown.call("Input.insertText", text="ask the author, then decide")
    for key in ("Tab", "Enter"):
        press(shown, key)
    wait(shown, "document.getElementById('said').textContent === 'Noted.'")
    assert read(project.folder / "decisions.jsonl")[-1].reason == "ask the author, then decide"
    press(shown, "/")
    shown.call("Input.insertText", text="red box")
    wait(shown, f"{STATUS} === '1 row' && {TITLE} === 'Alike, other answer'")
    press(shown, "Escape")
    press(shown, "?")
    wait(shown, "document.getElementById('help').open")
    press(shown, "Escape")
    press(shown, "a")
    wait(shown, f"{STATUS} === '0 rows'")
    assert written(project)[-1][0] == "keep"


SAID, CLOSED = "document.getElementById('said').textContent", "document.getElementById('edit').hidden"
MENDED = '{"colour": "green", "count": 3}'


def begin_to_mend(browser: Browser) -> str:
    """Open the form of the chosen row and write another answer into it; gives what was in it."""
    browser.run("document.getElementById('what').focus()")
    press(browser, "e")
    wait(browser, "document.activeElement.id === 'value'")
    before = browser.run("document.activeElement.value")
    browser.run("document.activeElement.select()")
    browser.call("Input.insertText", text=MENDED)
    wait(browser, "document.querySelectorAll('#problems li').length === 0")
    return str(before)


def test_a_form_is_closed_with_the_row_that_it_is_of(shown: Browser, session: Session, project: Project) -> None:
    rows = [session.desk.row(id_) for id_ in (session.queue.case(0).id, *session.queue.case(0).beside)]
    colours = [json.loads(row["target"])["colour"] for row in rows]
    assert json.loads(begin_to_mend(shown))["colour"] == colours[0]
    click(shown, "article[data-row='1'] button")
    wait(shown, f"{CLOSED} && {SAID}.startsWith('The form is closed')")
    assert json.loads(begin_to_mend(shown))["colour"] == colours[1], "the form of the other row"
    for key in ("Tab", "Tab", "1"):
        press(shown, key)
    wait(shown, f"{CLOSED} && document.querySelector('[data-row=\"0\"]').className === 'chosen'")
    begin_to_mend(shown)
    for key in ("Tab", "Tab", "j"):
        press(shown, key)
    wait(shown, f"{CLOSED} && {TITLE} === 'Alike, other answer' && {SAID}.startsWith('The form is closed')")
    begin_to_mend(shown)
    click(shown, "[data-place='0']")
    wait(shown, f"{CLOSED} && {TITLE} === 'Conflicts'")
    assert written(project) == [], "what is left in a form is decided of no row"
    begin_to_mend(shown)
    for key in ("Tab", "Enter"):
        press(shown, key)
    wait(shown, f"{STATUS} === '3 rows'")
    (made,) = read(project.folder / "decisions.jsonl")
    assert (made.id, made.value) == (rows[0]["id"], json.loads(MENDED))


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (1280, True), (390, False), (PHONE, True)])
def test_it_fits_a_phone_and_axe_finds_nothing(shown: Browser, width: int, dark: bool) -> None:
    shown.look(width, 900, dark)
    press(shown, "e")
    wait(shown, "!document.getElementById('edit').hidden")
    assert shown.run("document.documentElement.scrollWidth") <= width
    keep(f"review_{width}_{'dark' if dark else 'light'}", shown.screenshot())
    faults = ("Runtime.exceptionThrown", "Log.entryAdded", "Runtime.consoleAPICalled", "Page.javascriptDialogOpening")
    assert [event for event in shown.events if event["method"] in faults] == []
    assert_accessible(shown)
