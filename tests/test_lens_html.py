"""The replay page: one small file that holds every step and asks nobody for anything."""

import json
import re
from html.parser import HTMLParser

import pytest
from lens_traces import make_trace

from metarim_lite.errors import UserError
from metarim_lite.lens import SwapMission, describe, step_svg
from metarim_lite.lens.html import replay_page, shared_lines
from metarim_lite.lens.page import caption, picture_html


class Page(HTMLParser):
    """Collects the addresses a page refers to, its ids, and the text of its JSON scripts."""

    def __init__(self, source):
        super().__init__()
        self.addresses, self.ids, self.data, self.inside = [], [], {}, None
        self.feed(source)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.addresses += [v for k, v in attributes.items() if k in ("src", "href", "xlink:href", "action", "data")]
        self.ids.append(attributes.get("id"))
        self.inside = attributes.get("id") if tag == "script" else self.inside

    def handle_endtag(self, tag):
        self.inside = None if tag == "script" else self.inside

    def handle_data(self, data):
        if self.inside:
            self.data[self.inside] = json.loads(data)


@pytest.fixture(scope="module")
def trace():
    return make_trace(T=64)


@pytest.fixture(scope="module")
def source(trace):
    return replay_page(trace)


def test_the_page_holds_every_step_exactly_as_the_widget_draws_it(trace, source):
    data = Page(source).data
    assert len(data["steps"]) == trace.num_steps + 1
    for t, step in enumerate(data["steps"]):
        drawn = "\n".join(data["lines"][i] for i in step)
        assert drawn == picture_html(trace, t)
        assert data["captions"][t] == caption(trace, t)


def test_the_page_refers_to_nothing_outside_itself(source):
    assert "http" not in source and "//" not in re.sub(r"base64,[A-Za-z0-9+/=]+", "", source)
    assert "@import" not in source and "url(" not in source
    addresses = Page(source).addresses + re.findall(r'href=\\?"([^"\\]*)', source)
    assert addresses and all(a.startswith("data:image/png;base64,") for a in addresses)


def test_a_page_of_64_steps_is_smaller_than_one_megabyte(source):
    assert len(source.encode()) < 1_000_000


def test_two_runs_stand_side_by_side_and_the_shorter_one_waits_at_its_end():
    long, short = make_trace(T=9), make_trace(T=4, controller="lstm", seed=1)
    data = Page(replay_page(long, short)).data
    assert len(data["steps"]) == 10
    for t, step in enumerate(data["steps"]):
        drawn = "\n".join(data["lines"][i] for i in step)
        assert drawn == picture_html(long, t, short) and drawn.count("<svg") == 4  # for wide places and for narrow ones
        assert describe(long, t) in data["captions"][t] and describe(short, min(t, 4)) in data["captions"][t]


def test_two_runs_of_64_steps_side_by_side_are_smaller_than_one_megabyte_too():
    assert len(replay_page(make_trace(T=64), make_trace(T=64, seed=1)).encode()) < 1_000_000


def test_every_step_is_there_for_wide_and_for_narrow_places(trace):
    page = picture_html(trace, 3)
    for form in ("wide", "narrow"):
        assert step_svg(trace, 3, form=form).replace(' xmlns="http://www.w3.org/2000/svg"', "") in page


def test_every_control_the_script_looks_for_is_there(source):
    wanted = set(re.findall(r'find\("(\w+)"\)', source))
    assert wanted >= {"slider", "play", "back", "next", "start", "end", "caption", "picture"}
    assert wanted <= set(Page(source).ids)


def test_the_first_step_is_visible_without_javascript(trace, source):
    assert picture_html(trace, 0).replace("\n", "") in source.replace("\n", "")


def test_a_mission_cannot_break_out_of_the_page():
    trace = make_trace(T=3, mission="</script><script>alert(1)</script><!-- ", interventions=(SwapMission("a </b>"),))
    source = replay_page(trace)
    assert "<script>alert" not in source and "<!-- " not in source
    assert len(Page(source).data["steps"]) == 4


def test_lines_that_steps_share_are_stored_once():
    drawings = ["a\nb\nc", "a\nx\nc", "a\nb\nc"]
    lines, steps = shared_lines(drawings)
    assert sorted(lines) == ["a", "b", "c", "x"]
    assert ["\n".join(lines[i] for i in step) for step in steps] == drawings


def test_the_file_is_written_and_its_path_returned(tmp_path):
    path = make_trace(T=2).to_html(tmp_path / "replay.html")
    assert path.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert [p.name for p in tmp_path.iterdir()] == ["replay.html"]


def test_a_folder_that_is_not_there_is_refused_with_a_sentence(tmp_path):
    with pytest.raises(UserError, match="cannot write .*replay.html"):
        make_trace(T=1).to_html(tmp_path / "missing" / "replay.html")
