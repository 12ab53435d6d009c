"""``python -m mcl_jax.report``: what it writes, and what it says of mistakes."""

import json
import pathlib
import subprocess
import sys

import pytest

from mcl_jax.report import __main__ as command

ROOT = pathlib.Path(__file__).parents[2]


def workdir(path: pathlib.Path) -> pathlib.Path:
    path.mkdir()
    (path / "config.json").write_text(json.dumps({"name": "run", "method": {"networks": 2}}))
    return path


def call(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "mcl_jax.report", *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )


def failure(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """The one sentence that ends the command."""
    with pytest.raises(SystemExit) as stopped:
        command.main([str(argument) for argument in arguments])
    assert capsys.readouterr().out == ""
    # A text as code is what Python prints to standard error, to exit with 1.
    assert isinstance(stopped.value.code, str)
    assert "\n" not in stopped.value.code
    assert stopped.value.code.endswith(".")
    return stopped.value.code


def test_the_page_is_written_and_its_path_printed(tmp_path):
    process = call(workdir(tmp_path / "run"))
    assert (process.returncode, process.stderr) == (0, "")
    assert process.stdout.strip() == str(tmp_path / "run" / "report.html")
    assert "</html>" in (tmp_path / "run" / "report.html").read_text()


def test_a_mistake_ends_with_one_and_without_a_traceback(tmp_path):
    process = call(tmp_path)
    assert (process.returncode, process.stdout) == (1, "")
    assert process.stderr == f"error: {tmp_path} is no workdir of a run: it holds no config.json.\n"


def test_output_says_where(tmp_path, capsys):
    command.main([str(workdir(tmp_path / "run")), "--output", str(tmp_path / "page.html")])
    assert capsys.readouterr().out.strip() == str(tmp_path / "page.html")
    assert (tmp_path / "page.html").exists()
    assert not (tmp_path / "run" / "report.html").exists()


def test_several_folders_give_one_comparison_here(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    command.main([str(workdir(tmp_path / name)) for name in ("a", "b")])
    assert capsys.readouterr().out.strip() == "comparison.html"
    assert "Comparison of 2 runs" in (tmp_path / "comparison.html").read_text()


def test_folders_that_are_none_are_named(tmp_path, capsys):
    missing, run = tmp_path / "missing", workdir(tmp_path / "run")
    assert failure(capsys, missing) == f"error: there is no folder {missing}."
    assert f"{tmp_path} is no workdir" in failure(capsys, run, tmp_path)


def test_an_output_that_cannot_be_written_is_named(tmp_path, capsys):
    output = tmp_path / "nowhere" / "page.html"
    said = failure(capsys, workdir(tmp_path / "run"), "--output", output)
    assert said == f"error: {output} cannot be written: No such file or directory."


def test_wrong_arguments_end_like_any_bad_input(capsys):
    assert failure(capsys).startswith("error: the following arguments are required: DIR")
    assert "unrecognized arguments: --nope" in failure(capsys, "run", "--nope")


def test_help_explains(capsys):
    with pytest.raises(SystemExit) as stopped:
        command.main(["--help"])
    assert stopped.value.code == 0
    text = capsys.readouterr().out
    assert all(word in text for word in ("DIR", "--output", "report.html", "comparison.html"))
