"The volleyball track on real annotation files where they are, and on a hand-made file for each fault."

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file

from clfnb.contract import contract_problems
from clfnb.preprocessing.volleyball.annotations import (
    ACTIVITIES,
    ERRORS,
    OFFICIAL_SPLIT,
    count_faults,
    parse_line,
    read_annotations,
)
from clfnb.preprocessing.volleyball.players import fit_geometry, frame_features
from clfnb.registry import layout_problem, track
from clfnb.simulate.volleyball.folder import PUBLISHED_COUNTS, write, write_rendered
from clfnb.tracks.volleyball.crops import CropData, CropsNet, crop_probabilities
from clfnb.tracks.volleyball.examples import PUBLISHED, class_counts, load
from clfnb.tracks.volleyball.frames import (
    FrameData,
    class_weights,
    frame_probabilities,
    read_frames,
    train_frames,
)
from clfnb.tracks.volleyball.label_noise import compare_labels, rank_label_issues
from clfnb.tracks.volleyball.players import (
    PlayersModel,
    encode_labels,
    fit_players,
    missing_activities,
)
from clfnb.tracks.volleyball.predict import command
from clfnb.tracks.volleyball.predictor import Predictor, VolleyballModel, save_volleyball

DATA = Path(os.environ.get("CLFNB_DATA", "")) / "volleyball"
real = pytest.mark.skipif(
    not (DATA / "videos").is_dir(), reason="CLFNB_DATA has no volleyball/videos"
)
GOOD = "10.jpg l-pass " + " ".join(f"{100 * k} 300 40 110 standing" for k in range(1, 8))


@pytest.fixture(scope="module")
def untrained(tmp_path_factory):
    "A model folder with untrained weights."
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("untrained")
    parts = {name: PlayersModel(name == "actions", nets=1) for name in ("actions", "boxes")}
    return save_volleyball(folder / "model", VolleyballModel(**parts), "# Nothing")


def annotate(folder, *lines, video="3", end="\n"):
    file = folder / "videos" / video / "annotations.txt"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("\n".join(lines) + end)
    return file


@pytest.mark.parametrize("line, kind, word, kept", [
    (GOOD, None, "", 7),
    (GOOD.replace(" ", "  ", 1), "spacing", "odd spacing", 7),
    (GOOD.replace(" 300", "\t300", 1), "spacing", "odd spacing", 7),
    (GOOD.replace("l-pass", "l_pass"), "spelling", "'l_pass' is 'l-pass'", 7),
    (GOOD.replace("l-pass", "l-poss"), "activity", "did you mean 'l-pass'?", None),
    (GOOD.replace("10.jpg", "frame"), "frame", "expected FRAME.jpg", None),
    (GOOD.replace("100 300 40 110", "100 300 40", 1), "box", "player 1", 6),
    (GOOD.replace("100 300 40 110", "100 300 0 110", 1), "box", "above 0", 6),
    (GOOD.replace("100 300 40 110", "nan 300 40 110", 1), "box", "player 1", 6),
    (GOOD.replace("standing", "stending", 1), "action", "did you mean 'standing'?", 7),
    (GOOD.rsplit(" ", 1)[0], "action", "no action after", 7),
    (GOOD.replace("100 300 40 110", "9999999 300 40 110", 1), "box", "in or near an image", 6),
    (GOOD.replace("100 300 40 110", "1260 300 40 110", 1), "border", "(1280, 720)", 7),
    (GOOD + " 1 2 3 4 moving" * 6, "players", "13 players", 13),
    (" ".join(GOOD.split()[:12]), "players", "2 players", 2),
    ("10.jpg l-pass", "no players", "no player's box", None),
])  # fmt: skip
def test_each_fault_is_named_with_file_and_line(tmp_path, line, kind, word, kept):
    file = annotate(tmp_path, "9.jpg " + GOOD.split(" ", 1)[1], line)
    frames, faults = read_annotations(file)
    assert len(frames) == 1 + (kept is not None)
    if kept is not None:
        assert len(frames[1].boxes) == kept
    if kind is None:
        assert faults == []
        return
    fault = next(fault for fault in faults if fault.kind == kind)
    assert word in fault.what and fault.location == f"{file}:2"


def test_faults_of_a_folder(tmp_path):
    annotate(tmp_path, GOOD, GOOD, end="")
    (tmp_path / "videos" / "8").mkdir()
    table = load(tmp_path)
    counts = table.attrs["faults"]
    assert counts == {"duplicate": 1, "newline": 1, "no image": 1, "no annotations": 1}
    assert [str(tmp_path / "videos" / "8")] == [e.split(": ")[0] for e in table.attrs["errors"] if "without" in e]  # fmt: skip
    assert any(":2: frame 10.jpg is already in line 1" in error for error in table.attrs["errors"])
    assert len(table) == 1


def test_an_empty_file_is_named_and_a_byte_order_mark_is_none(tmp_path):
    file = annotate(tmp_path, GOOD)
    file.write_bytes(b"\xef\xbb\xbf" + GOOD.encode() + b"\n")
    frames, faults = read_annotations(file)
    assert len(frames) == 1 and faults == []
    file.write_text("\n")
    assert [fault.kind for fault in read_annotations(file)[1]] == ["no annotations"]


def test_predictions_name_lost_actions(tmp_path):
    from clfnb.tracks.volleyball.predictor import _annotated

    annotate(tmp_path, GOOD.replace("standing", "flying", 1))
    table, _, errors = _annotated([tmp_path])
    assert len(table) == 1 and len(errors) == 1 and "'flying' is not known" in errors[0]


def test_unreadable_bytes_cost_one_line(tmp_path):
    file = annotate(tmp_path, GOOD)
    file.write_bytes(b"\xff\xfe nonsense \x00\n" + GOOD.encode() + b"\r\n")
    frames, faults = read_annotations(file)
    assert len(frames) == 1 and faults[0].location.endswith(":1")


def test_a_truncated_image_is_named_and_the_rest_goes_on(tmp_path):
    table = load(write(tmp_path / "v", videos=3, frames=2))
    broken = Path(table.path[0])
    broken.write_bytes(broken.read_bytes()[:9000])
    images, kept, errors = read_frames(table, 72)
    assert len(images) == len(kept) == 5 and str(broken) in errors[0]


def test_clips_in_the_wrong_place(tmp_path):
    folder = write(tmp_path / "v", videos=3, frames=2)
    first, second = sorted(path for path in (folder / "videos/0").iterdir() if path.is_dir())
    first.rename(folder / "videos/4" / first.name)
    inner = second / second.name
    second.rename(folder / "aside")
    second.mkdir()
    (folder / "aside").rename(inner)
    table = load(folder)
    assert table.attrs["faults"]["nested"] == table.attrs["faults"]["stray clip"] == 1
    assert all(Path(path).is_file() for path in table.path) and not table.attrs["errors"]


def test_the_track_keeps_the_contract():
    assert contract_problems(track("volleyball")) == []


def test_layouts(tmp_path):
    assert layout_problem(tmp_path, track("volleyball"))
    annotate(tmp_path, GOOD)
    for folder in (tmp_path, tmp_path / "videos", tmp_path / "videos" / "3"):
        assert layout_problem(folder, track("volleyball")) is None
        assert load(folder).id.tolist() == ["3/10"]


def test_weights_need_no_image(tmp_path):
    folder = write(tmp_path / "v", videos=3, frames=30, images=False)
    table = load(folder)
    weights = class_weights(encode_labels(table)).numpy()
    counts = np.bincount(encode_labels(table), minlength=8)
    assert np.allclose(weights[counts > 0], 90 / 8 / counts[counts > 0])
    assert len(FrameData(table, 72)) == 0


def test_simulation_has_the_published_imbalance(tmp_path):
    table = load(write(tmp_path / "v", videos=20, frames=100, images=False))
    shares = table.label.value_counts(normalize=True)
    for name, published in zip(
        ACTIVITIES, np.array(PUBLISHED_COUNTS) / sum(PUBLISHED_COUNTS), strict=True
    ):
        assert abs(shares[name] - published) < 4 * np.sqrt(published * (1 - published) / 2000)
    assert {(1280, 720), (1920, 1080)} == set(zip(table.width, table.height, strict=True))
    assert dict(zip(ACTIVITIES, PUBLISHED_COUNTS, strict=True)) == PUBLISHED


def test_no_answer_depends_on_the_activity_column(tmp_path, untrained):
    folder = write(tmp_path / "v", videos=3, frames=12, images=False)
    csv = [tmp_path / name for name in ("a.csv", "b.csv", "c.csv")]
    runs = [str(folder), "--run", str(untrained), "--probs"]
    rng = np.random.default_rng(0)
    for number, target in enumerate(csv):
        for file in folder.glob("videos/*/annotations.txt"):
            words = [line.split() for line in file.read_text().splitlines()]
            column = rng.permutation([w[1] for w in words]) if number == 1 else [w[1] for w in words]  # fmt: skip
            column = ["?"] * len(words) if number == 2 else column
            lines = [" ".join([w[0], c, *w[2:]]) for w, c in zip(words, column, strict=True)]
            file.write_text("\n".join(lines))
        done = CliRunner().invoke(command, [*runs, "--csv", str(target)], standalone_mode=False)
        assert done.return_value == 0, done.output
    assert csv[0].read_bytes() == csv[1].read_bytes() == csv[2].read_bytes()


def test_no_answer_depends_on_the_order_of_players(tmp_path, untrained):
    folder = write(tmp_path / "v", videos=3, frames=12, images=False)
    predictor, rng = Predictor.load(untrained), np.random.default_rng(0)
    before, _ = predictor.predict(folder)
    for file in folder.glob("videos/*/annotations.txt"):
        lines = []
        for line in file.read_text().splitlines():
            words = line.split()
            players = [words[k : k + 5] for k in range(2, len(words), 5)]
            order = rng.permutation(len(players))
            lines.append(" ".join(words[:2] + [w for k in order for w in players[k]]))
        file.write_text("\n".join(lines))
    after, _ = predictor.predict(folder)
    columns = [f"p_{name}" for name in ACTIVITIES]
    assert np.abs(before[columns] - after[columns]).to_numpy().max() < 1e-5


def test_actions_are_left_out_when_asked(tmp_path, untrained):
    folder = write(tmp_path / "v", videos=3, frames=4, images=False)
    predictor = Predictor.load(untrained)
    without, _ = predictor.predict(folder, actions=False)
    for file in folder.glob("videos/*/annotations.txt"):
        words = [line.split() for line in file.read_text().splitlines()]
        file.write_text("\n".join(" ".join(x for k, x in enumerate(w) if k < 2 or (k - 2) % 5 < 4) for w in words))  # fmt: skip
    bare, errors = predictor.predict(folder)
    assert errors == [] and set(bare.source) == {"boxes"}
    pd.testing.assert_frame_equal(without, bare)


def test_the_columns_of_the_csv(tmp_path, untrained):
    folder = write(tmp_path / "v", videos=3, frames=4, images=False)
    words = [str(folder), "--run", str(untrained), "--csv", str(tmp_path / "out.csv")]
    assert CliRunner().invoke(command, words, standalone_mode=False).return_value == 0
    table = pd.read_csv(tmp_path / "out.csv")
    assert list(table) == ["video", "frame", "activity", "probability", "team", "runner_up", "source"]  # fmt: skip
    assert set(table.activity) <= set(ACTIVITIES) and len(table) == 12
    assert (table.team.str[0] == table.activity.str[0]).all()


@real
def test_all_real_files_are_read():
    table = load(DATA)
    assert len(table) == 3489 and table.attrs["errors"] == []
    assert set(table.group.astype(int)) == set(OFFICIAL_SPLIT["train"]) | set(OFFICIAL_SPLIT["val"])
    assert class_counts(table).loc["all", ["train", "val"]].tolist() == [2149, 1340]
    assert table.players.between(7, 12).all()
    assert set(table.attrs["faults"]) <= {"spacing", "border", "newline", "no image"}
    assert not set(table.attrs["faults"]) & set(ERRORS)
    boxes = np.concatenate([b / w for b, w in zip(table.boxes, table.width, strict=True)])
    assert boxes[:, 0].min() >= 0 and (boxes[:, 0] + boxes[:, 2]).max() < 1.02


@real
def test_real_labels_of_two_annotations():
    _, found = compare_labels(load(DATA / "official", images=False), load(DATA, images=False))
    assert (found["n"], found["differ"]) == (109, 15)
    assert found["low"] < 0.138 < found["high"]


@real
def test_hand_features_against_a_slow_count():
    "Counts of the features against plain loops over a real video."
    frames, _ = read_annotations(DATA / "videos" / "7" / "annotations.txt")
    boxes = [frame.boxes / 1280 for frame in frames]
    geometry = fit_geometry(np.concatenate(boxes))
    for own, frame in zip(boxes[:10], frames[:10], strict=True):
        features = frame_features(own, geometry, frame.actions)
        assert features[3] == len(own)
        team = (len(features) - 9) // 2
        counted = features[9 + team - 54 : 9 + team].reshape(9, 6)[:, 0].sum()
        counted += features[-54:].reshape(9, 6)[:, 0].sum()
        assert counted == len(own)


@real
def test_real_formations_are_drawn(tmp_path):
    (tmp_path / "part" / "videos").mkdir(parents=True)
    for video in ("7", "39"):
        (tmp_path / "part" / "videos" / video).symlink_to(DATA / "videos" / video)
    drawn = load(write_rendered(tmp_path / "drawn", tmp_path / "part", limit=3))
    images, kept, errors = read_frames(drawn, 72)
    assert len(images) == 6 and errors == []
    assert "no image" in drawn.attrs["faults"]  # the frames beyond the limit


@real
def test_real_clips_are_read():
    table = load(DATA)
    images, kept, errors = read_frames(table, 180)
    assert sorted(kept.id) == ["39/29885", "39/29905", "41/19515", "41/19560"] and not errors
    assert images.std() > 20
    crops = CropData(table)
    assert len(crops) == 4 and crops.crops[0].float().std() > 20
    torch.manual_seed(0)
    probs = crop_probabilities(CropsNet(), crops)
    assert np.allclose(probs.sum(1), 1, atol=1e-5)


@real
def test_a_little_training_on_real_boxes_beats_chance_by_far():
    table = load(DATA, images=False)
    train, test = table[table.split == "train"].head(700), table[table.group == "8"]
    model, _ = fit_players(train, True, nets=0, tree_options={"max_iter": 30})
    right = model.probabilities(test).argmax(1) == encode_labels(test)
    assert right.mean() > 0.7


def test_the_studys_resnet_builds_steps_and_goes_on(tmp_path):
    "ResNet-50 with hidden layers and the study's schedule: an epoch and another after a stop are two epochs, bit for bit."
    data = FrameData(load(write(tmp_path / "v", videos=3, frames=3)), 73)
    options = {"lr": 1e-3, "batch_size": 4, "schedule": "step", "seed": 0, "progress": "none"}
    options |= {"device": "cpu", "precision": "32-true"}
    options["model"] = {"backbone": "resnet50", "hidden": (16,), "px": 64, "recipe": "study"}
    once, history = train_frames(data, epochs=2, folder=tmp_path / "a", **options)
    train_frames(data, epochs=1, folder=tmp_path / "b", **options)
    twice, rest = train_frames(data, epochs=2, folder=tmp_path / "b", **options)
    assert sum(p.numel() for p in once.body.parameters()) == 23_508_032  # torchvision's, headless
    pairs = zip(once.state_dict().values(), twice.state_dict().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs) and len(history) == len(rest) == 2
    probs = frame_probabilities(once, data)
    assert probs.shape == (len(data), 8) and np.allclose(probs.sum(1), 1, atol=1e-5)
    for folder in "ab":
        for file in (tmp_path / folder).rglob("*.ckpt"):
            file.unlink()  # 280 MB each


def test_frames_anew_in_parts_are_those_of_one_training(tmp_path):
    data = FrameData(load(write(tmp_path / "v", videos=3, frames=3)), 64)
    options = {"epochs": 4, "batch_size": 8, "model": {"backbone": "small", "px": 32}}
    options |= {"device": "cpu", "progress": "none"}
    kept = tmp_path / "parts"
    whole, expected = train_frames(data, **options, folder=tmp_path / "whole")
    for resume in (False, True):  # the second finds the training finished, and trains nothing
        parts, history = train_frames(data, **options, save_every=2, folder=kept, resume=resume)
        columns = ["epoch", "lr", "train_loss"]
        pd.testing.assert_frame_equal(history[columns], expected[columns], check_exact=True)
        pairs = zip(whole.state_dict().values(), parts.state_dict().values(), strict=True)
        assert all(torch.equal(a, b) for a, b in pairs)
        weights = [
            load_file(kept / f"epoch-{end:03d}.safetensors")["head.1.weight"] for end in (2, 4)
        ]
        assert torch.equal(weights[1], whole.head[1].weight)
        assert not torch.equal(*weights), "the weights of epoch 2 are still those of epoch 2"


def test_videos_without_an_activity_train_and_never_answer_it(tmp_path):
    table = load(write(tmp_path / "v", videos=4, frames=30), images=False)
    some = table[~table.label.isin(["l_set", "r_set"])]
    assert set(missing_activities(some)) == {"l_set", "r_set"}
    model, _ = fit_players(some, False, nets=0, tree_options={"max_iter": 5})
    probs = model.probabilities(table)
    sets = [ACTIVITIES.index(name) for name in ("l_set", "r_set")]
    assert probs[:, sets].max() < 1e-6 and np.allclose(probs.sum(1), 1)
    save_volleyball(tmp_path / "model", VolleyballModel(boxes=model), "# Some")
    answers, errors = Predictor.load(tmp_path / "model").predict(tmp_path / "v")
    assert len(answers) == len(table) and not errors
    with pytest.raises(ValueError, match="three activities or more, found l_set, r_set"):
        missing_activities(table[table.label.isin(["l_set"])])


def test_label_issues_are_in_the_order_of_cleanlab():
    rank = pytest.importorskip("cleanlab.rank")
    rng = np.random.default_rng(0)
    probs, y = rng.dirichlet(np.ones(8), 300), rng.integers(0, 8, 300)
    table = pd.DataFrame(probs, columns=[f"p_{name}" for name in ACTIVITIES])
    table.insert(0, "label", np.array(ACTIVITIES)[y])
    table.insert(0, "id", np.arange(300))
    theirs = rank.get_label_quality_scores(y, probs, method="normalized_margin")
    ours = rank_label_issues(table).set_index("id").margin.loc[np.arange(300)].to_numpy()
    assert np.allclose(ours, 1 - 2 * theirs, atol=1e-9)


def test_a_line_may_hold_anything():
    rng = np.random.default_rng(0)
    words = ["1.jpg", "l-pass", "1", "-5", "1e9", "inf", "standing", "", "??", "0.5", "nan"]
    for _ in range(500):
        line = " ".join(rng.choice(words, rng.integers(0, 20)))
        frame, faults = parse_line(line, "a:1")
        assert frame is not None or faults
        assert frame is None or np.isfinite(frame.boxes).all()
    assert count_faults([]) == {}
