"""The dashboard in a real browser, over the real API."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright

from controlplane.domain.ids import AttemptId
from controlplane.sdk import JobSpec
from tests.e2e.dashboard_stage import HOSTILE, Stage, plant, running_stage, write_log
from tests.parts import require_part

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    require_part("browser", CHROMIUM is not None, "no chromium on PATH")
    expect.set_options(timeout=15_000)
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        yield running
        running.close()


@pytest.fixture(scope="module")
def stage(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with running_stage(tmp_path_factory.mktemp("home")) as running:
        yield running


@pytest.fixture(scope="module")
def jobs(stage: Stage) -> dict[str, str]:
    return plant(stage)


@pytest.fixture
def page(browser: Browser, stage: Stage) -> Iterator[Page]:
    """Signed out. Whatever a test does, the page stays on its server and breaks no rule of its own."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    opened = context.new_page()
    faults: list[str] = []
    opened.on("pageerror", lambda error: faults.append(str(error)))
    opened.on("console", lambda message: faults.extend(_policy_breaches(message)))
    opened.on(
        "request", lambda request: faults.extend([] if request.url.startswith(stage.url) else [request.url])
    )
    yield opened
    context.close()
    assert faults == []


@pytest.fixture
def signed_in(page: Page, stage: Stage, jobs: dict[str, str]) -> Page:
    page.goto(f"{stage.url}/#token={stage.token}")
    expect(page.get_by_role("link", name="digits")).to_be_visible()
    return page


def test_a_token_in_the_address_is_taken_out_of_it_at_once(signed_in: Page, stage: Stage) -> None:
    assert signed_in.url == f"{stage.url}/#/jobs"
    assert signed_in.evaluate("sessionStorage.length") == 1
    assert signed_in.evaluate("localStorage.length") == 0


def test_a_wrong_token_is_refused_and_a_right_one_opens_the_page(page: Page, stage: Stage) -> None:
    page.goto(stage.url)
    page.get_by_label("Access token").fill("cd_wrong")
    page.get_by_role("button", name="Open").click()
    expect(page.get_by_role("alert")).to_have_text("This token is not valid (any more).")
    page.get_by_label("Access token").fill(stage.token)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Jobs")).to_be_visible()
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_label("Access token")).to_be_visible()
    assert page.evaluate("sessionStorage.length") == 0


def test_jobs_are_listed_newest_first_and_filtered_by_state(signed_in: Page) -> None:
    rows = signed_in.locator("tbody tr")
    names = rows.locator("a.name").all_inner_texts()
    assert names[-6:] == ["report", "digits", "hostile", "too-big", "nightly-eval", "unwanted"]
    expect(rows.filter(has_text="digits").locator(".badge")).to_have_text("running")
    signed_in.get_by_role("navigation", name="Filter by state").get_by_text("failed").click()
    expect(rows).to_have_count(1)
    expect(rows.locator("a.name")).to_have_text("hostile")


def test_a_new_job_and_its_end_appear_by_themselves(signed_in: Page, stage: Stage) -> None:
    expect(signed_in.get_by_role("status").filter(has_text="Live")).to_be_visible()
    job = stage.client.jobs.submit(JobSpec(name="late-comer", entrypoint="true"))
    row = signed_in.locator("tbody tr").filter(has_text="late-comer")
    expect(row.locator(".badge")).to_have_text("queued")
    job.cancel()
    expect(row.locator(".badge")).to_have_text("cancelled")


def test_the_page_outlives_a_kill_of_the_server(signed_in: Page, stage: Stage) -> None:
    connection = signed_in.locator("#connection")
    expect(connection).to_have_text("Live")
    stage.server.kill("api")
    expect(connection).to_have_text("Reconnecting…")
    stage.server.start("api")
    expect(connection).to_have_text("Live")
    job = stage.client.jobs.submit(JobSpec(name="survivor", entrypoint="true"))
    expect(signed_in.locator("tbody tr").filter(has_text="survivor").locator(".badge")).to_have_text("queued")
    job.cancel()


def test_a_jobs_page_says_why_it_waits(signed_in: Page, stage: Stage, jobs: dict[str, str]) -> None:
    signed_in.goto(f"{stage.url}/#/jobs/{jobs['too-big']}")
    why = signed_in.locator(".why")
    expect(why).to_contain_text("Needs 1 x {gpu 2}, 1 gpu is free on the best node.")
    expect(why).to_contain_text("Is placed when a node of rack-a has 2 free gpus.")
    expect(signed_in.get_by_role("region", name="Logs")).to_contain_text("No attempt yet.")


def test_a_jobs_page_shows_its_attempts_with_their_seats(signed_in: Page, jobs: dict[str, str]) -> None:
    signed_in.get_by_role("link", name="digits").click()
    rows = signed_in.get_by_role("region", name="Attempts").locator("tbody tr")
    expect(rows).to_have_count(2)
    expect(rows.nth(0)).to_contain_text("58 %")
    expect(rows.nth(0)).to_contain_text("0 → rack-a-1")
    expect(rows.nth(0)).to_contain_text("1 → rack-a-2")
    expect(rows.nth(1)).to_contain_text("rank 1 ended with exit code 137")


def test_metrics_are_drawn_and_read_off_by_mouse_and_keys(signed_in: Page) -> None:
    signed_in.get_by_role("link", name="digits").click()
    chart = signed_in.locator(".chart").filter(has_text="loss")
    expect(signed_in.locator(".chart")).to_have_count(3)
    expect(chart.locator("path.line")).to_have_count(2)
    expect(chart.locator(".legend li")).to_have_text([re.compile("attempt 1"), re.compile("attempt 2")])
    expect(chart.locator(".readout")).to_have_text("step 239")
    chart.locator("svg").hover()
    expect(chart.locator(".readout")).not_to_have_text("step 239")
    signed_in.mouse.move(0, 0)
    chart.locator("svg").focus()
    signed_in.keyboard.press("ArrowLeft")
    signed_in.keyboard.press("ArrowLeft")
    expect(chart.locator(".readout")).to_have_text("step 238")
    signed_in.get_by_label("Logarithmic").check()
    expect(chart.locator(".tick").filter(has_text=re.compile("^0.1$"))).to_have_count(1)


def test_logs_follow_and_go_by_task_and_attempt(signed_in: Page, stage: Stage, jobs: dict[str, str]) -> None:
    signed_in.get_by_role("link", name="digits").click()
    log = signed_in.get_by_role("log")
    expect(log).to_contain_text("step   59  task 0")
    _print(stage, AttemptId(f"attempt_{jobs['digits']}_2"), "a line that came later\n")
    expect(log).to_contain_text("a line that came later")
    choose = signed_in.get_by_role("region", name="Logs")
    choose.get_by_label("Task").select_option("1")
    expect(log).to_contain_text("step   59  task 1")
    expect(log).not_to_contain_text("task 0")
    choose.get_by_label("Attempt").select_option(f"attempt_{jobs['digits']}_1")
    choose.get_by_label("Task").select_option("0")
    expect(log).to_have_text("epoch 1\nepoch 2\nout of memory\n")
    expect(choose.get_by_role("status")).to_have_text("Complete.")


def test_what_users_wrote_is_text_and_nothing_else(
    signed_in: Page, stage: Stage, jobs: dict[str, str]
) -> None:
    signed_in.goto(f"{stage.url}/#/jobs/{jobs['hostile']}")
    expect(signed_in.get_by_role("log")).to_have_text(f"{HOSTILE}\ndone\n")
    expect(signed_in.locator(".why")).to_contain_text(HOSTILE)
    expect(signed_in.get_by_role("region", name="Facts")).to_contain_text(f"note={HOSTILE}")
    signed_in.get_by_role("link", name="Clusters").click()
    expect(signed_in.get_by_role("region", name="Cluster cloud-b")).to_contain_text(HOSTILE)
    assert signed_in.locator("main img, main script").count() == 0
    assert signed_in.title() == "Clusters · Crossdock"


def test_clusters_show_state_bookings_and_nodes(signed_in: Page) -> None:
    signed_in.get_by_role("link", name="Clusters").click()
    rack = signed_in.get_by_role("region", name="Cluster rack-a")
    expect(rack.locator(".badge")).to_have_text("ready")
    expect(rack.locator(".usages").first).to_contain_text("2 of 4 booked")
    expect(rack.locator("tbody tr")).to_have_count(2)
    expect(rack.locator("tbody tr").first).to_contain_text("A100")
    expect(signed_in.get_by_role("region", name="Cluster cloud-b").locator(".badge")).to_have_text(
        "unreachable"
    )


def test_a_job_that_is_not_there_is_said(signed_in: Page, stage: Stage) -> None:
    signed_in.goto(f"{stage.url}/#/jobs/job_nowhere")
    expect(signed_in.get_by_role("alert")).to_contain_text("here is no job 'job_nowhere'")


def test_it_loads_nothing_from_elsewhere_and_has_no_inline_code() -> None:
    folder = Path(__file__).parents[2] / "controlplane" / "dashboard" / "static"
    page = (folder / "index.html").read_text()
    assert re.findall(r"<style|<script>|\son\w+=|\sstyle=", page) == []
    for file in folder.iterdir():
        assert re.findall(r"https?://(?!www\.w3\.org/2000/svg)", file.read_text()) == [], file.name


def _print(stage: Stage, attempt_id: AttemptId, text: str) -> None:
    stage.store.write(lambda tx: write_log(tx, attempt_id, 0, text))


def _policy_breaches(message: ConsoleMessage) -> list[str]:
    return [message.text] if "Content Security Policy" in message.text else []
