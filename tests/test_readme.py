"""What README and pages show works, the Korean README shows the same, and no link is dead."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import yaml
from click.testing import Result
from typer.testing import CliRunner

from overtone.cli import app

ROOT = Path(__file__).parents[1]
READMES = ("README.md", "README.ko.md")
PAGES = [ROOT / "README.md", ROOT / "README.ko.md", ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("docs/**/*.md"))]
SMALL = ["teachers.signal.model=wrn10-0.5", "teachers.gaf.model=wrn10-0.25", "views.gaf.size=8", "train.threads=1"]


def blocks(name: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / name).read_text(encoding="utf-8"), flags=re.DOTALL)


def recipe_of(page: str) -> str:
    """A page's whole recipe."""
    return next(block for block in blocks(page, "yaml") if "student:" in block and "seeds:" in block)


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the windows that the recipes name."""
    generator = np.random.default_rng(0)
    x = generator.normal(size=(320, 2, 48)).astype(np.float32)
    y = np.asarray(["walk", "run"])[np.arange(320) % 2]
    np.savez(tmp_path / "mine.npz", X=x, y=y, group=np.arange(320) // 80)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def overtone(command: str, recipe: str, folder: Path, short: list[str]) -> Result:
    (folder / "mine.yaml").write_text(recipe)
    jobs = ["--jobs", "1"] if command == "run" else []
    settings = [word for s in short for word in ("--set", s)]
    result = CliRunner().invoke(app, [command, "mine.yaml", *settings, *jobs])
    assert result.exit_code == 0, result.stdout + result.stderr
    return result


def test_recipe_of_the_readme(mine: Path) -> None:
    short = ["student.epochs=1", "teachers.signal.epochs=1", "teachers.gaf.epochs=1", "seeds=[0]", "split.folds=[0]"]
    overtone("run", recipe_of("README.md"), mine, short + SMALL)
    assert len((mine / "runs" / "mine" / "table.csv").read_text().splitlines()) == 1 + 3 + 2 + 1


def test_recipe_of_the_page_with_frequency_attention(mine: Path) -> None:
    both = yaml.safe_load(recipe_of("docs/recipes.md"))
    both["methods"] += yaml.safe_load(blocks("docs/frequency.md", "yaml")[0])["methods"]
    said = overtone("check", yaml.safe_dump(both), mine, SMALL).stdout
    assert all(term in said for term in ("weighted.kl", "sp.gram", "fam_layer.map.gaf", "fam_review.map.signal"))


def test_two_branches_of_the_page(mine: Path) -> None:
    both = yaml.safe_load(recipe_of("docs/recipes.md")) | yaml.safe_load(blocks("docs/two_branch.md", "yaml")[0])
    assert "ce.image" in overtone("check", yaml.safe_dump(both), mine, SMALL).stdout


def test_own_loop_of_the_readme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (loop,) = blocks("README.md", "python")
    exec(loop, {})
    assert (tmp_path / "student.pt").exists()


def test_own_loop_of_the_page() -> None:
    loop, functions = blocks("docs/own_loop.md", "python")
    names: dict[str, object] = {}
    exec(loop, names)
    assert {"ce", "aver.kl", "sp.gram.signal"} <= set(names["step"].terms)  # type: ignore[attr-defined]
    exec(functions, names)
    assert tuple(names["images"].shape) == (8, 6, 32, 32)  # type: ignore[attr-defined]


def test_view_of_the_page() -> None:
    names: dict[str, object] = {}
    exec(blocks("docs/views.md", "python")[0], names)
    spectrum = names["magnitude_spectrum"](names["torch"].randn(4, 6, 100))  # type: ignore[operator, attr-defined]
    assert tuple(spectrum.shape) == (4, 6, 32)


CHECKS = ["check_method", "check_fusion", "check_view", "check_source", "check_model", "check_task"]


@pytest.mark.parametrize("check", CHECKS)
def test_parts_of_ones_own(check: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = blocks("docs/extending.md", "python")
    number = next(n for n, block in enumerate(shown) if f"import {check}" in block)
    (name,) = re.findall(r"^class (\w+)", shown[number - 1], flags=re.MULTILINE)
    (tmp_path / f"mine_{name}.py").write_text(shown[number - 1])
    np.save(tmp_path / "gloves.npy", np.random.default_rng(0).normal(size=(40, 3, 200)))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    exec(f"from mine_{name} import {name}\n{shown[number]}", {})


@pytest.mark.parametrize("page", [page for page in PAGES if "```yaml" in page.read_text(encoding="utf-8")])
def test_yaml_is_yaml(page: Path) -> None:
    for block in blocks(str(page), "yaml"):
        assert isinstance(yaml.safe_load(block), dict)


@pytest.mark.parametrize("language", ["yaml", "python"])
def test_both_readmes_show_the_same_code(language: str) -> None:
    def code(name: str) -> list[str]:  # comments are translated
        return [re.sub(r"\s*#.*", "", block) for block in blocks(name, language)]

    assert code("README.md") == code("README.ko.md") != []


def test_readmes_are_short_and_alike() -> None:
    english, korean = ((ROOT / name).read_text(encoding="utf-8") for name in READMES)
    assert len(english.split()) <= 850
    assert [line.count("#") for line in english.splitlines() if line.startswith("#")] == [
        line.count("#") for line in korean.splitlines() if line.startswith("#")
    ]
    assert set(files_of(english)) - {"README.ko.md"} == set(files_of(korean)) - {"README.md"}


def files_of(text: str) -> list[str]:
    """Files that a page links to or shows, without what leads to other sites."""
    links = re.findall(r"\]\(([^)\s]+)\)|src=\"([^\"]+)\"", text)
    return [link.partition("#")[0] for pair in links for link in pair if link and "://" not in link]


def anchors_of(page: Path) -> set[str]:
    """A page's headings as links name them: lower case, no punctuation, dashes for spaces."""
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    headings = re.findall(r"^#+ (.*)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-") for heading in headings}


def test_anchors_are_made_as_github_makes_them(tmp_path: Path) -> None:
    (tmp_path / "page.md").write_text(
        "# The student's `file`: what, where\n```\n# no heading\n```\n## Two_branch -> one\n"
    )
    assert anchors_of(tmp_path / "page.md") == {"the-students-file-what-where", "two_branch---one"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_link_is_dead(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for file in files_of(text):
        assert (page.parent / file).exists(), f"{page.name}: {file}"
    for file, anchor in re.findall(r"\]\(([^)#\s:]*)#([^)\s]+)\)", text):
        assert anchor in anchors_of(page.parent / file if file else page), f"{page.name}: {file}#{anchor}"


def test_the_picture_is_small() -> None:
    assert (ROOT / "docs" / "picture.png").stat().st_size < 300_000
