"""Cost as work grows: the arithmetic, made-up pasts, tables and plots, and the whole run in tiny sizes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from genai.benchmark.work import CacheRead, Work
from genai.config import GenerationConfig
from genai.engine import Request
from genai.prepare import prepare_model
from scripts.growth.arithmetic import Arithmetic
from scripts.growth.measurements import Bench, Timing
from scripts.growth.parts import PARTS, QUICK, Row, Sizes
from scripts.growth.plots import plot
from scripts.growth.report import Report, as_markdown, write_tables

ROOT = Path(__file__).parents[2]
ROWS = [Row(64, 0.01, 0.01), Row(1024, 0.04, 0.02)]
REPORT = Report("the command", "a machine", "versions", "a model", {"decode": ROWS})


def arithmetic(**windows: int | None) -> Arithmetic:
    """Ten bytes of every position in each of several layers, each of which looks so far back."""
    work = Work(weight_bytes=1000, int8_macs=100, head_float_macs=7)
    sizes: dict[int | None, int] = {}
    for window in windows.values():
        sizes[window] = sizes.get(window, 0) + 10
    return Arithmetic(work, CacheRead(sizes), attention_operations=3, folder_bytes=1)


def test_a_step_reads_the_weights_once_and_every_cache() -> None:
    assert arithmetic(a=None).step_bytes(5) == 1050
    assert arithmetic(a=None).step_bytes(5, rows=4) == 1200
    assert arithmetic(a=None, b=2).step_bytes(5) == 1070
    assert arithmetic(a=None).step_operations(3) == 2 * 3 * 107


def test_a_prompt_multiplies_tokens_by_weights_the_head_once_and_pairs_in_attention() -> None:
    assert arithmetic(a=None).prompt_operations(4) == 2 * (4 * 100 + 7) + 3 * (1 + 2 + 3 + 4)
    assert arithmetic(a=2).prompt_operations(4) == 2 * (4 * 100 + 7) + 3 * (1 + 2 + 2 + 2)
    assert arithmetic(a=None, b=2).prompt_operations(4) == 2 * (4 * 100 + 7) + 3 * (10 + 7) / 2


def test_the_cache_holds_every_position_of_every_sequence() -> None:
    demo = prepare_model("demo")
    decoder = demo.decoder
    per_token = 4 * 2 * decoder.num_layers * decoder.num_kv_heads * decoder.head_dim
    assert Arithmetic.of(demo).held_bytes(100, 3) == 300 * per_token


def test_sizes_fit_a_context() -> None:
    sizes = Sizes((8, 90, 100), (8, 90, 100), (1, 200), (100, 200), (1,), Timing(rounds=1, steps=4))
    fitting = sizes.fit(100)
    assert (fitting.pasts, fitting.prompts, fitting.batches, fitting.contexts) == (
        [8, 90],
        [8, 90],
        (1, 200),
        [100],
    )


def test_of_a_past_that_is_made_up_nothing_is_read_but_its_last_token() -> None:
    bench = Bench(prepare_model("demo").path, max_batch=2)
    token_ids = bench.draw(200)
    bench.make_up(token_ids[:-1])
    request = Request(token_ids, GenerationConfig(max_new_tokens=3, ignore_eos=True))
    bench.engine.submit(request)
    bench.engine.run([request])
    assert request.cached_prompt_tokens == 199
    assert request.result is not None
    assert len(request.result.token_ids) == 3
    bench.engine.check()


def test_requests_of_a_measurement_leave_nothing_behind() -> None:
    bench = Bench(prepare_model("demo").path, max_batch=2)
    assert bench.step_seconds([bench.draw(8), bench.draw(70)], 3) > 0
    assert not bench.engine.has_work
    bench.engine.check()


def test_a_table_shows_how_much_more_a_row_costs_than_its_work() -> None:
    lines = as_markdown("decode", ROWS).splitlines()
    assert lines[2:] == ["| 64 | 10 | 100 | – | 10 | 1.00 |", "| 1,024 | 40 | 25 | 31.2 | 20 | 2.00 |"]


def test_a_report_is_read_as_it_was_saved(tmp_path: Path) -> None:
    REPORT.save(tmp_path / "report.json")
    assert Report.load(tmp_path / "report.json") == REPORT


def test_tables_are_written_between_markers_and_again(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("<!-- run -->\n<!-- end of run -->\nb\n<!-- decode -->\nold\n<!-- end of decode -->\nc\n")
    write_tables(page, REPORT)
    first = page.read_text()
    assert "old" not in first
    assert f"b\n<!-- decode -->\n{as_markdown('decode', ROWS)}\n<!-- end of decode -->\nc\n" in first
    write_tables(page, REPORT)
    assert page.read_text() == first
    page.write_text("nothing")
    with pytest.raises(ValueError, match="end of run"):
        write_tables(page, REPORT)


def test_the_page_has_a_place_for_every_part(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text((ROOT / "docs" / "performance.md").read_text("utf-8"), "utf-8")
    write_tables(page, Report("", "", "", "", dict.fromkeys(PARTS, ())))


def test_a_plot_is_the_same_file_each_time(tmp_path: Path) -> None:
    rows = [Row(64, 5e8, 5e8), Row(64, 6e8, 6e8, slots=4), Row(128, 6e8, 6e8), Row(128, 7e8, 7e8, slots=4)]
    for name in ("first.svg", "second.svg"):
        plot("memory", rows, tmp_path / name)
    assert (tmp_path / "first.svg").read_bytes() == (tmp_path / "second.svg").read_bytes()


@pytest.mark.slow
def test_the_script_measures_prints_writes_and_draws(tmp_path: Path) -> None:
    page, figures = tmp_path / "page.md", tmp_path / "growth.json"
    page.write_text((ROOT / "docs" / "performance.md").read_text("utf-8"), "utf-8")
    outputs = ["--json", str(figures), "--plots", str(tmp_path / "plots"), "--write", str(page)]
    command = [sys.executable, str(ROOT / "scripts" / "measure_growth.py")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error"}

    def run(*arguments: str) -> str:
        done = subprocess.run(
            [*command, *arguments], env=environment, capture_output=True, text=True, timeout=250
        )
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout

    printed = run("--quick", *outputs)
    parts = json.loads(figures.read_text("utf-8"))["parts"]
    assert parts.keys() == PARTS.keys()
    assert [row["size"] for row in parts["decode"]] == list(QUICK.pasts)
    assert all(row["measured"] > 0 for rows in parts.values() for row in rows)
    assert {path.stem for path in (tmp_path / "plots").iterdir()} == PARTS.keys()
    written = page.read_text("utf-8")
    assert printed.count("| measured / arithmetic |") == len(PARTS)
    assert run("--from", str(figures), "--write", str(page)) == printed
    assert page.read_text("utf-8") == written
