"""What `--help` says is what the program takes: headings, defaults, and choices."""

import re
from dataclasses import fields

import pytest
import typer
from typer.testing import CliRunner

import cli
from erc_features.errors import ErcError
from erc_features.interchange.export_features import export_features
from erc_fusion.cli.settings import SETTINGS, takes_of
from erc_fusion.config.config import (
    DEFAULTS,
    FuseConfig,
    LossConfig,
    ModelConfig,
    PlaceConfig,
    TrainingConfig,
    check_config,
    with_options,
)
from erc_fusion.inputs.targets import NUMBER_LOSSES, SET_LOSSES
from erc_fusion.model.context import CONTEXTS, load_context
from erc_fusion.model.heads import load_head
from erc_fusion.training.losses import CONTRASTS, LOSSES

COMMANDS = typer.main.get_command(cli.app).commands


def help_of(command):
    return CliRunner().invoke(cli.app, [command, "--help"], terminal_width=80).stdout


def test_the_settings_of_fuse_stand_under_headings():
    text = help_of("fuse")
    headings = re.findall(r"^(\w[\w ]*):$", text, re.M)
    assert headings == ["Inputs", "Model", "Loss", "Training", "Output", "Other options"]
    assert "Maximum number of epochs. [default: 60]" in text
    assert "--context none|gru|transformer" in text
    assert text.index("--epochs") > text.index("Training:") > text.index("--dropout")


def test_a_short_command_needs_no_headings():
    assert re.findall(r"^(\w[\w ]*):$", help_of("verify"), re.M) == ["Arguments", "Options"]


def test_every_setting_is_an_option_and_every_option_a_setting():
    """But seeds and modalities, nested in nothing, and what a file of settings is called."""
    parts = (FuseConfig, ModelConfig, LossConfig, TrainingConfig, PlaceConfig)
    names = {each.name for part in parts for each in fields(part)} - {"model", "training", "place"}
    assert set(SETTINGS) - {"config"} == names
    options = {one.name for one in COMMANDS["fuse"].params}
    assert options == names | {"config", "overfit", "log", "train", "test", "mapped"}


@pytest.mark.parametrize("name", [name for name in SETTINGS if takes_of(name)])
def test_choices_are_those_that_are_taken(name):
    takes = takes_of(name).split("|")
    if name in ("layers", "modalities", "seeds", "folds", "target"):  # what they look like
        return
    for value in takes:
        if name == "head":
            load_head(value)
        elif name == "context":
            load_context(value)
        else:
            check_config(with_options(FuseConfig(), **{name: value}))
    tables = {
        "context": CONTEXTS,
        "loss": {*LOSSES, *SET_LOSSES, *NUMBER_LOSSES},
        "contrastive": {"auto", *CONTRASTS},
    }
    assert set(takes) == set(tables.get(name, takes))
    assert DEFAULTS[name] in takes
    if name not in (*tables, "head"):
        with pytest.raises(ErcError, match="choose from") as error:
            check_config(with_options(FuseConfig(), **{name: "nothing"}))
        assert set(takes) == set(re.findall(r"[\w-]+", str(error.value).partition("from")[2]))


def test_the_formats_of_export_are_those_it_writes(tmp_path):
    (takes,) = (one.metavar for one in COMMANDS["export"].params if one.name == "kind")
    with pytest.raises(ErcError, match="Unknown format") as error:
        export_features(tmp_path / "x.h5", tmp_path / "y", "nothing")
    assert set(takes.split("|")) == set(re.findall(r"\w+", str(error.value).partition("from")[2]))


@pytest.mark.parametrize("command", COMMANDS)
def test_the_list_of_commands_has_whole_sentences(command):
    first = COMMANDS[command].get_short_help_str(limit=64)
    assert first.endswith(".")
    assert not first.endswith("..")
