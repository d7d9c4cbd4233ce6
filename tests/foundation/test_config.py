"""The one loader of recipes, training recipes and policies: what it reads, and how it answers what it cannot."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import Field
from typer.testing import CliRunner

from foundation.config import Config, ConfigError, annotated, differences, dump, load, location, parse, value
from foundation.config.override import parse_override
from trainer.config import load_train_recipe
from trainer.distributed import join_world
from trainer.pin import OtherRecipe, pin_recipe
from zhclip.app import app


class Sql(Config):
    rule: Literal["sql"]
    sql: str = value(..., "a query whose name is the tag's")
    limits: tuple[int, int] = value((0, 1), "from and to")


class Share(Config):
    rule: Literal["share"]
    of: dict[str, Annotated[float, Field(le=1)]] = value({}, "source → share")
    either: int | list[int] = value(1, "a union without a tag")


class Root(Config):
    name: str = value("root", "a name", "letters")
    rules: tuple[Annotated[Sql | Share, Field(discriminator="rule")], ...] = value(..., "rules")
    inner: Share | None = value(None, "one more")


OVERRIDES = ["inner={rule: share, either: [1, 2]}", "rules.0.limits=[0, 4]", "rules.0.limits.1=5"]
GOOD = "rules:\n- rule: sql\n  sql: select 1\n- rule: share\n  of: {a: 0.5}\n"


def write(folder: Path, content: str | bytes) -> Path:
    path = folder / "file.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def refusal(path: Path, *overrides: str) -> str:
    with pytest.raises(ConfigError) as error:
        load(Root, path, overrides, kind="policy", missing="no policy; look elsewhere")
    return str(error.value).replace(str(path), "FILE")


def test_what_is_read_survives_both_ways_of_writing_it(tmp_path: Path) -> None:
    config = load(
        Root,
        write(tmp_path, GOOD),
        ["inner={rule: share, either: [1, 2]}", "rules.0.limits=[0, 4]", "rules.0.limits.1=5"],
    )
    assert config.rules[0].limits == (0, 5)
    assert config.inner is not None and config.inner.either == [1, 2]
    assert load(Root, write(tmp_path, dump(config))) == config
    assert load(Root, write(tmp_path, annotated(config))) == config
    assert annotated(config).splitlines()[0].endswith("# a name [letters]")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"name: \xff\n", "FILE: not UTF-8: invalid start byte at byte 6"),
        ("name: x\nrules: [unclosed\n", "FILE:3: not YAML: "),
        ("- a list\n", "FILE: a policy is a mapping with `rules`; found a list"),
        ("", "FILE: a policy is a mapping with `rules`; found nothing"),
        ("name: x\n", "FILE: 1 error\n  FILE  rules: a value is needed"),
        ("nam: x\n" + GOOD, "FILE: 1 error\n  FILE:1  nam: unknown name; did you mean `name`?"),
        (GOOD + "  eithr: 3\n", "  FILE:6  rules.1.eithr: unknown name; did you mean `either`?"),
        (GOOD + "  either: x\n", "  FILE:6  rules.1.either: "),
        (GOOD + "  of: {a: 2}\n", "  FILE:6  rules.1.of.a: input should be less than or equal to 1; found 2"),
        ("rules: [{rule: sql, sql: [1]}]\n", "  FILE:1  rules.0.sql: input should be a valid string"),
        ("rules:\n- rule: shar\n", "  FILE:2  rules.0.rule: unknown rule `shar`; did you mean `share`?"),
        ("rules:\n- sql: x\n", "  FILE:2  rules.0: `rule` is needed"),
        ("name: 3\nrules: 4\n", "FILE: 2 errors\n"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(tmp_path: Path, content: str | bytes, message: str) -> None:
    assert message in refusal(write(tmp_path, content))


@pytest.mark.parametrize("given, kind", [("rules: [1]\nname: [a]", "a list"), ("rules: {a: 1}", "a mapping")])
def test_a_list_or_a_mapping_in_the_place_of_another_value_is_named(tmp_path: Path, given: str, kind: str) -> None:
    assert f"; found {kind}" in refusal(write(tmp_path, given))


def test_a_wrong_item_does_not_make_its_list_too_short() -> None:
    class Stages(Config):
        stages: tuple[Share, ...] = value(..., "stages", min_length=1)

    def said(content: str) -> str:
        with pytest.raises(ConfigError) as error:
            parse(Stages, content, "FILE")
        return str(error.value)

    assert said("stages: [{rule: share, of: {a: 2}}]").startswith("FILE: 1 error\n  FILE:1  stages.0.of.a: ")
    assert said("stages: []") == "FILE: 1 error\n  FILE:1  stages: at least 1 item needed; found none"
    assert said("stages:") == "FILE: 1 error\n  FILE:1  stages: a list is needed; found nothing"
    assert said("stages: [3]") == "FILE: 1 error\n  FILE:1  stages.0: a mapping is needed; found 3"


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    assert refusal(tmp_path / "none.yaml") == "no policy; look elsewhere"
    assert refusal(tmp_path).endswith("this policy cannot be read: Is a directory")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("nonsense", "--set nonsense: expected key.path=value"),
        ("=3", "--set =3: expected key.path=value"),
        ("name..x=3", "expected key.path=value"),
        ("name=[1", "--set name=[1: the value is not YAML: "),
        ("rules.2.sql=x", "--set rules.2.sql=x: rules is a list of 2, counted from 0; found 2"),
        ("rules.first.sql=x", "rules is a list of 2, counted from 0; found first"),
        ("rules.0.sql.deep=x", "--set rules.0.sql.deep=x: rules.0.sql is 'select 1', which holds no `deep`"),
        ("rules.1.of.a=7", "  --set rules.1.of.a=7  rules.1.of.a: input should be less than or equal to 1; found 7"),
    ],
)
def test_an_override_that_cannot_be_used(tmp_path: Path, override: str, message: str) -> None:
    assert message in refusal(write(tmp_path, GOOD), override)


def test_text_that_was_read_elsewhere_is_explained_in_the_same_way() -> None:
    assert parse(Root, GOOD, "s3://bucket/recipe.yaml").name == "root"
    with pytest.raises(ConfigError, match=r"\n  s3://bucket/recipe\.yaml:1  nam: unknown name; did you mean `name`\?$"):
        parse(Root, "nam: x\n" + GOOD, "s3://bucket/recipe.yaml")


def test_the_line_of_a_rule(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD)
    assert location(path, ("rules", 1)) == f"{path}:4"
    assert location(path, ("rules", 7)) == f"{path}:1"
    assert location(path, ("nowhere",)) == str(path)


PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=120)
NAMES = st.text("abcde", min_size=1, max_size=3)
PLAIN = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=4), max_leaves=12
)
MAPPINGS = st.dictionaries(NAMES, PLAIN, max_size=4)


@PATIENT
@given(MAPPINGS, MAPPINGS)
def test_there_are_differences_unless_two_are_equal_and_no_two_sides_look_the_same(old: Any, new: Any) -> None:
    lines = list(differences(old, new))
    assert bool(lines) == (old != new)
    assert not list(differences(new, copy.deepcopy(new)))
    for line in lines:
        if line.count(" → ") == 1:  # a text may hold an arrow itself
            before, after = line.split(": ", 1)[1].split(" → ")
            assert before != after


def paths(content: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    children = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    return [inner for key, child in children for inner in [(*path, key), *paths(child, (*path, key))]]


@PATIENT
@given(MAPPINGS.filter(bool), PLAIN, st.data())
def test_an_override_changes_what_its_path_names_and_nothing_else(content: Any, new: Any, data: Any) -> None:
    path = data.draw(st.sampled_from(paths(content)))
    name = ".".join(map(str, path))
    changed = copy.deepcopy(content)
    parse_override(f"{name}={yaml.safe_dump(new, default_flow_style=True, width=10_000)}").apply(changed)
    target = changed
    for step in path:
        target = target[step]
    assert target == new
    lines = list(differences(content, changed))
    assert all(line.startswith((f"{name}:", f"{name}.")) for line in lines)


def test_two_long_values_are_shown_where_they_differ() -> None:
    (line,) = differences({"a": "x" * 500 + "old" + "y" * 500}, {"a": "x" * 500 + "new" + "y" * 500})
    assert "xold" in line and "xnew" in line and len(line) < 200


def write_log(folder: Path) -> None:
    """The log of a training that did a step."""
    (folder / "log.jsonl").write_text('{"step": 1, "loss": 2.5}\n', encoding="utf-8")


def test_a_folder_in_which_no_step_was_done_takes_another_recipe(tmp_path: Path) -> None:
    with join_world() as world:
        pin_recipe(tmp_path, load_train_recipe("tiny"), world)
        (tmp_path / "log.jsonl").write_text('{"step": 0, "evaluation": "muge"}\n', encoding="utf-8")
        recipe = load_train_recipe("tiny", ["seed=7"])
        pin_recipe(tmp_path, recipe, world)
    assert load_train_recipe(str(tmp_path / "recipe.yaml")) == recipe


def test_a_changed_value_inside_a_list_is_named_by_its_path(tmp_path: Path) -> None:
    before, after = (load_train_recipe("tiny", [f"stages.0.steps={steps}"]) for steps in (5, 6))
    with join_world() as world:
        pin_recipe(tmp_path, before, world)
        write_log(tmp_path)
        with pytest.raises(OtherRecipe, match=r"\n  stages\.0\.steps: 5 → 6\n"):
            pin_recipe(tmp_path, after, world)


def test_a_training_continues_with_a_recipe_that_lacks_what_came_later_and_not_with_a_damaged_one(
    tmp_path: Path,
) -> None:
    recipe, path = load_train_recipe("tiny"), tmp_path / "recipe.yaml"
    with join_world() as world:
        pin_recipe(tmp_path, recipe, world)
        write_log(tmp_path)
        assert load_train_recipe(str(path)) == recipe
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        del content["compile"]
        path.write_text(yaml.safe_dump(content), encoding="utf-8")
        pin_recipe(tmp_path, recipe, world)
        path.write_text("model: [", encoding="utf-8")
        with pytest.raises(ConfigError, match=r"recipe\.yaml:1: not YAML"):
            pin_recipe(tmp_path, recipe, world)


@pytest.mark.parametrize("content", ["model: [unclosed", "- model", "", b"\xff\xfe"])
def test_a_training_recipe_that_is_none_is_a_message_and_not_a_traceback(tmp_path: Path, content: str | bytes) -> None:
    path = write(tmp_path, content)
    done = CliRunner().invoke(app, ["train", str(path), "--data", "x", "--out", str(tmp_path / "out")])
    assert done.exit_code == 2
    assert f"zhclip: {path}" in done.stderr
    assert not (tmp_path / "out").exists()
