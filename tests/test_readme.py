"""What the README shows works, and the Korean one shows the same."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from overtone.cli import app

ROOT = Path(__file__).parents[1]


def blocks(name: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / name).read_text(encoding="utf-8"), flags=re.DOTALL)


def test_recipe_of_the_readme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe, frequency, _ = blocks("README.md", "yaml")
    both = yaml.safe_load(recipe)
    both["methods"] += yaml.safe_load(frequency)["methods"]
    generator = np.random.default_rng(0)
    np.savez(
        tmp_path / "mine.npz",
        X=generator.normal(size=(320, 2, 48)).astype(np.float32),
        y=np.asarray(["walk", "run"])[np.arange(320) % 2],
        group=np.arange(320) // 80,
    )
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(both))
    monkeypatch.chdir(tmp_path)
    short = ["student.epochs=1", "teachers.signal.epochs=1", "teachers.gaf.epochs=1", "seeds=[0]", "split.folds=[0]"]
    short += ["teachers.signal.model=wrn10-0.5", "teachers.gaf.model=wrn10-0.25", "views.gaf.size=8", "train.threads=1"]
    result = CliRunner().invoke(app, ["run", "mine.yaml", *(word for s in short for word in ("--set", s))])
    assert result.exit_code == 0, result.stdout + result.stderr
    assert len((tmp_path / "runs" / "mine" / "table.csv").read_text().splitlines()) == 1 + 9 + 2 + 1


def test_two_branches_of_the_readme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, _, branches = blocks("README.md", "yaml")
    both = yaml.safe_load(whole) | yaml.safe_load(branches)
    generator = np.random.default_rng(0)
    x, y = generator.normal(size=(320, 2, 48)).astype(np.float32), np.arange(320) % 2
    np.savez(tmp_path / "mine.npz", X=x, y=y, group=np.arange(320) // 80)
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(both))
    monkeypatch.chdir(tmp_path)
    short = ["teachers.signal.model=wrn10-0.5", "teachers.gaf.model=wrn10-0.25", "views.gaf.size=8", "train.threads=1"]
    result = CliRunner().invoke(app, ["check", "mine.yaml", *(word for s in short for word in ("--set", s))])
    assert result.exit_code == 0, result.stdout + result.stderr
    assert "ce.image" in result.stdout


def test_python_of_the_readme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    _, loop, functions = blocks("README.md", "python")
    names: dict[str, object] = {}
    exec(functions, names)
    assert tuple(names["images"].shape) == (8, 6, 32, 32)  # type: ignore[attr-defined]
    exec(loop, {})
    assert (tmp_path / "student.pt").exists()


@pytest.mark.parametrize("language", ["yaml", "python"])
def test_both_readmes_show_the_same_code(language: str) -> None:
    def code(name: str) -> list[str]:  # comments are translated
        return [re.sub(r"\s*#.*", "", block) for block in blocks(name, language)]

    assert code("README.md") == code("README.ko.md") != []


def test_nothing_is_left_to_fill_in() -> None:
    for name in ("README.md", "README.ko.md"):
        text = (ROOT / name).read_text(encoding="utf-8")
        assert "DEMO_TABLE" not in text
        assert "teacher signal" in text  # the demo's table, as printed


def test_every_linked_file_exists() -> None:
    for page in [ROOT / "README.md", ROOT / "README.ko.md", *ROOT.glob("docs/**/*.md"), ROOT / "CONTRIBUTING.md"]:
        for link in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
            if "://" not in link:
                assert (page.parent / link).exists(), f"{page.name}: {link}"
