from __future__ import annotations

import pytest

from benchmarks import bench_swap, results_io
from benchmarks.results_io import COLUMNS, Cache, read_table, write_environment, write_table
from benchmarks.swap import FIXED_SHARES, REPLAYED, live_methods
from benchmarks.swap.cells import SCALES, images, science
from benchmarks.swap.report import against, images_note, seeds_note, verdict, write_report


@pytest.fixture
def small(monkeypatch, tmp_path):
    """The benchmark on two tiny cells, writing where nothing else lies."""
    cells = [science("zoo-sin-64", 60.0, 1), images("digits", "vit-nomlp-wkewq-wvwo", 5, 1, None, rows=32, batch=16)]
    monkeypatch.setitem(SCALES, "quick", lambda folder: cells)
    monkeypatch.setattr(results_io, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(bench_swap, "Cache", lambda name: Cache(name, tmp_path / "cache"))
    monkeypatch.setattr(bench_swap, "CACHE", tmp_path / "cache")
    return tmp_path


def test_writes_a_tidy_table_resumes_and_reports(small, monkeypatch):
    bench_swap.main(["--scale", "quick"])
    table = small / "results" / "swap-quick.tsv"
    rows = read_table(table)
    assert tuple(rows[0])[: len(COLUMNS)] == COLUMNS
    methods = 1 + len(FIXED_SHARES) + len(REPLAYED) + len(live_methods())
    assert len(rows) == 2 * methods - 2  # noise-scale and growing data need samples
    assert min(float(row["regret"]) for row in rows if row["method"].startswith("fixed")) == 0.0
    # Five epochs are so few that the default may swap in the last and overspend.
    assert all(float(row["gradient_equivalents"]) <= float(row["budget"]) + 2.0 for row in rows)

    def no_run(*_):
        raise AssertionError("a cached run was made again")

    for name in ("first_phase", "swapped_run", "live_run"):
        monkeypatch.setattr(bench_swap, name, no_run)
    bench_swap.main(["--scale", "quick"])
    assert read_table(table) == rows

    write_report(table, small / "docs")
    page = (small / "docs" / "swap-quick.md").read_text()
    assert all(f"`{row['method']}`" in page for row in rows)
    assert "mean nothing" in page
    assert "the 1,000 images of [the small size](swap.md): gains on images" in page
    assert (small / "docs" / "swap-quick-regret.png").stat().st_size > 1000


def test_a_part_is_run_alone_and_the_rest_of_the_table_stays(small):
    bench_swap.main(["--scale", "quick", "--problems", "zoo-sin-64"])
    table = small / "results" / "swap-quick.tsv"
    fit = read_table(table)
    write_report(table, small / "docs")
    assert "Not run yet: digits/vit-nomlp-wkewq-wvwo (seeds 0)." in (small / "docs" / "swap-quick.md").read_text()
    bench_swap.main(["--scale", "quick", "--problems", "digits/vit-nomlp-wkewq-wvwo", "--seeds", "0"])
    both = read_table(table)
    assert both[: len(fit)] == fit
    assert {row["problem"] for row in both[len(fit) :]} == {"digits/vit-nomlp-wkewq-wvwo"}
    write_report(table, small / "docs")
    assert "Not run yet" not in (small / "docs" / "swap-quick.md").read_text()
    bench_swap.main(["--scale", "quick", "--seeds", "7"])
    assert read_table(table) == both


def test_problems_that_need_data_are_left_out_and_named(capsys, monkeypatch):
    found = bench_swap.found_cells("small", None, None)
    assert all(cell.needs is None for cell in found)
    out = capsys.readouterr().out
    assert "mnist/vit-nomlp-wkewq-wvwo" in out
    assert "--data-dir or HOMESTRETCH_DATA" in out


def test_an_unknown_problem_is_named():
    with pytest.raises(SystemExit, match="no such problem in scale quick: nope"):
        bench_swap.found_cells("quick", None, ["nope"])


@pytest.mark.parametrize(
    ("problems", "scale", "said"),
    [
        (("zoo-sin-64", "mnist/vit-nomlp"), "small", "1,000 images below: gains there"),
        (("zoo-sin-64", "mnist/vit-nomlp"), "tenth", "1,000 images of [the small size](swap.md): gains on images"),
        (("zoo-sin-64", "convection"), "tenth", "none of which is here"),
    ],
)
def test_images_are_spoken_of_where_there_are_any(problems, scale, said):
    assert said in images_note([{"problem": problem} for problem in problems], scale)


@pytest.mark.parametrize(("b", "said"), [((0, 1, 2), "3"), ((0,), "1 to 3")])
def test_how_many_seeds_there_are(b, said):
    rows = [{"problem": problem, "seed": str(seed)} for problem, seeds in (("a", (0, 1, 2)), ("b", b)) for seed in seeds]
    assert seeds_note(rows) == f"Seeds a problem: {said}."


@pytest.mark.parametrize(("scale", "name", "link"), [("small", "swap", "swap-tenth.md"), ("tenth", "swap-tenth", "swap.md")])
def test_the_pages_of_the_sizes_lead_to_each_other(tmp_path, scale, name, link):
    table = tmp_path / f"swap-{scale}.tsv"
    columns = ("problem", "seed", "method", "loss", "regret", "swap_share", "seconds")
    methods = ("adam", "adam-cosine", "fixed-20", "default")
    write_table(
        table,
        [{"problem": "zoo-sin-64", "seed": 0, "method": m, "loss": 1.0, "regret": 0.0, "seconds": 1.0} for m in methods],
        columns,
    )
    write_environment(table, {"homestretch"}, scale=scale, note="")
    write_report(table, tmp_path)
    assert f"]({link})" in (tmp_path / f"{name}.md").read_text()


def rows_of(default, adam, regret):
    common = {"problem": "a", "seed": "0"}
    return [
        {**common, "method": "default", "loss": str(default), "regret": str(regret)},
        {**common, "method": "adam", "loss": str(adam), "regret": "0"},
    ]


@pytest.mark.parametrize(("default", "regret", "reached"), [(1.0, 0.05, 3), (1.2, 0.3, 1), (1.2, 0.9, 0)])
def test_the_verdict_says_which_targets_are_reached(default, regret, reached):
    rows = rows_of(default, 1.0, regret)
    assert against(rows) == {"a": [default]}
    assert verdict(rows).count("| yes |") == reached
