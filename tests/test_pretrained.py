"""A pipeline of diffusers from disk: it is what diffusers makes of it, and nothing in a folder is trusted."""

import json
import os
import pickle
import re
import shutil
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import test_models
import torch
from numpy.testing import assert_allclose
from safetensors.torch import load_file, save_file
from test_models import draw, fit
from test_resume import finished, outcome
from test_strangers import opened_files, told

from ecosystem import forking, loop, progress, scenarios
from ecosystem.documents import FaultsError, read
from ecosystem.errors import RecordError, ScenarioError
from ecosystem.models import Pretrained, nets, pipelines
from ecosystem.models.base import TrainingSet, to_model
from ecosystem.models.diffusion import DdimSampler
from ecosystem.models.pipeline_settings import PipelineError
from ecosystem.models.pipelines import CONFIG, INDEX, SCHEDULER, WEIGHTS
from ecosystem.models.train import TrainSettings
from ecosystem.records import RunRecord
from ecosystem.rng import Streams, stream, torch_stream
from ecosystem.summarise import question_of

TRAIN = TrainSettings(budget_images=60, finetune_images=40, batch=20, ema=0.5)
CPU = torch.device("cpu")


@cache
def unet(**options):
    """A tiny UNet2DModel for images of 8 x 8, its parameters from a named generator."""
    from diffusers import UNet2DModel

    settings = {
        "sample_size": 8,
        "in_channels": 1,
        "out_channels": 1,
        "block_out_channels": (8, 8),
        "layers_per_block": 1,
        "down_block_types": ("DownBlock2D", "AttnDownBlock2D"),
        "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
        "norm_num_groups": 4,
    }
    return nets.build(lambda: UNet2DModel(**(settings | options)), torch_stream(CPU, 0, "test", "parameters"))


def saved(folder, scheduler=None, **options):
    """What DDPMPipeline.save_pretrained writes."""
    from diffusers import DDPMPipeline, DDPMScheduler

    DDPMPipeline(unet(**options), scheduler or DDPMScheduler()).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A pipeline that no test changes."""
    return saved(tmp_path_factory.mktemp("whole") / "pipeline")


@pytest.fixture
def pipeline(whole, tmp_path):
    """One to be damaged."""
    return Path(shutil.copytree(whole, tmp_path / "pipeline"))


def pages(n=40, classes=1):
    x = stream(0, "test", "images").integers(0, 256, (n, 1, 8, 8), dtype=np.uint8)
    return TrainingSet(torch.from_numpy(x), torch.arange(n) % classes, classes)


def family(folder, **more):
    return Pretrained(path=str(folder), **({"train": TRAIN, "sampler": DdimSampler(steps=3)} | more))


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    """For the laws of test_models.py: one with classes, fine-tuned from the checkpoint."""
    folder = saved(tmp_path_factory.mktemp("laws") / "pipeline", num_class_embeds=2)
    asked, data = family(folder), pages(classes=2)
    return asked, data, *fit(asked, data)


LAWS = (
    "test_samples_have_the_shape_of_an_item",
    "test_training_depends_on_its_named_streams_alone",
    "test_another_name_trains_another_model",
    "test_sampling_is_a_pure_function_of_prompts_and_noise",
    "test_more_noise_leaves_the_first_rows_as_they_were",
    "test_a_sample_does_not_depend_on_its_neighbours",
    "test_progress_counts_to_its_end",
    "test_fine_tuning_goes_on_and_leaves_the_generation_before_alone",
    "test_a_budget_in_place_of_the_card",
)


@pytest.mark.parametrize("law", LAWS)
def test_it_keeps_the_law_of_every_family(law, fitted):
    getattr(test_models, law)(fitted)


# What it makes


def noise(n=4):
    return torch.from_numpy(stream(0, "test", "noise").standard_normal((n, 1, 8, 8), dtype=np.float32))


SCHEDULERS = [
    ("linear", "epsilon", None),
    ("linear", "v_prediction", 1.0),
    ("linear", "sample", 0.7),
    ("scaled_linear", "epsilon", 0.7),
    ("scaled_linear", "v_prediction", None),
    ("squaredcos_cap_v2", "epsilon", 1.0),
    ("squaredcos_cap_v2", "v_prediction", 0.7),
    ("squaredcos_cap_v2", "sample", None),
]


def put_scheduler(folder, kind, schedule, prediction, clip, times=200):
    import diffusers

    clips = {"clip_sample": False} if clip is None else {"clip_sample": True, "clip_sample_range": clip}
    settings = {"beta_schedule": schedule, "prediction_type": prediction, "beta_start": 5e-4, "beta_end": 0.1, **clips}
    scheduler = getattr(diffusers, kind)(num_train_timesteps=times, **settings)
    scheduler.save_pretrained(folder / "scheduler")
    return scheduler


@pytest.mark.parametrize(("schedule", "prediction", "clip"), SCHEDULERS)
def test_samples_are_those_of_diffusers_ddim(schedule, prediction, clip, pipeline):
    from diffusers import DDIMScheduler

    ours = put_scheduler(pipeline, "DDPMScheduler", schedule, prediction, clip)
    theirs = DDIMScheduler.from_config(ours.config, timestep_spacing="trailing", set_alpha_to_one=True)
    theirs.set_timesteps(5)
    x = noise()
    with torch.no_grad():
        for s in theirs.timesteps:
            x = theirs.step(unet()(x, s).sample, int(s), x).prev_sample
    asked = family(pipeline, sampler=DdimSampler(steps=5))
    generator, _ = fit(asked, pages(), budget_images=0)
    assert_allclose(
        generator.sample(torch.zeros(4, dtype=torch.int64), noise()), x, rtol=1e-3, atol=2e-4 * x.abs().max()
    )


def test_a_whole_pipeline_runs_as_in_diffusers(tmp_path):
    """DDIMPipeline, told to visit the times that we do, and our samples as it shows them."""
    from diffusers import DDIMPipeline, DDIMScheduler

    folder = saved(tmp_path / "pipeline", DDIMScheduler(timestep_spacing="trailing"))
    (folder / INDEX).write_text((folder / INDEX).read_text().replace("DDPMPipeline", "DDIMPipeline"))
    theirs = DDIMPipeline.from_pretrained(folder)
    theirs.set_progress_bar_config(disable=True)
    rng = torch_stream(CPU, 0, "test", "pipeline")
    images = theirs(batch_size=4, generator=rng, num_inference_steps=8, output_type="np").images
    start = torch.randn(4, 1, 8, 8, generator=torch_stream(CPU, 0, "test", "pipeline"))
    generator, _ = fit(family(folder, sampler=DdimSampler(steps=8)), pages(), budget_images=0)
    x = generator.sample(torch.zeros(4, dtype=torch.int64), start)
    assert_allclose((x / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1), images, atol=1e-5)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
def test_the_loss_is_that_of_ddpm(prediction, pipeline):
    """Written out with diffusers' scheduler, of the same draws."""
    scheduler = put_scheduler(pipeline, "DDPMScheduler", "linear", prediction, None)
    asked, x = family(pipeline), to_model(pages().x)
    loss = asked.loss(asked.build((1, 8, 8), 1), x, torch.zeros(40, dtype=torch.int64), torch_stream(CPU, 0, "a", "b"))
    rng = torch_stream(CPU, 0, "a", "b")
    index = torch.randint(1, 201, (40,), generator=rng) - 1
    e = torch.randn(x.shape, generator=rng)
    target = {"epsilon": e, "sample": x, "v_prediction": scheduler.get_velocity(x, e, index)}[prediction]
    output = unet()(scheduler.add_noise(x, e, index), index).sample
    assert float(loss.detach()) == pytest.approx(float((output - target).square().mean().detach()), rel=1e-5)


@pytest.mark.parametrize("schedule", ["linear", "scaled_linear", "squaredcos_cap_v2"])
def test_the_process_is_that_of_the_scheduler(schedule, pipeline):
    theirs = put_scheduler(pipeline, "DDIMScheduler", schedule, "v_prediction", 1.0, times=1000)
    signal = pipelines.fresh(pipeline).process.signal
    assert signal[0] == 1
    assert_allclose(signal[1:], theirs.alphas_cumprod, rtol=1e-4, atol=1e-9)


def test_generation_0_is_the_checkpoint(whole):
    asked = family(whole)
    assert asked.first_budget_images == 0
    generator, updates = fit(asked, pages(), budget_images=0)
    assert updates == []
    state = {name.removeprefix("unet."): value for name, value in generator.state().items()}
    there = load_file(whole / "unet" / WEIGHTS)
    assert state.keys() == there.keys()
    assert all(torch.equal(state[name], value) for name, value in there.items())
    assert family(whole, train_first=True).first_budget_images is None


def test_scratch_is_the_checkpoint_again(whole):
    """Whatever was trained before: the same data and streams make the same model of it."""
    asked, streams = family(whole), Streams(0, "lab", 3)
    first, _ = fit(asked, pages(), streams=streams)
    fit(asked, pages(), previous=first, streams=streams)
    again, updates = fit(asked, pages(), streams=streams)
    assert updates[-1].total == 3
    assert all(torch.equal(value, again.state()[name]) for name, value in first.state().items())


def test_the_average_is_an_old_one(whole):
    """One update of a young average would make it 0.8 of the new parameters."""
    asked = family(whole, train=TrainSettings(budget_images=20, finetune_images=2000, batch=20, ema=0.9))
    generator, _ = fit(asked, pages())
    there = load_file(whole / "unet" / WEIGHTS)["conv_in.weight"]
    now, average = (part.unet.conv_in.weight.detach() for part in (generator.training.net, generator.training.ema))
    assert not torch.equal(now, there)
    assert_allclose(average - there, 0.1 * (now - there), atol=1e-7)


def test_an_average_that_does_not_move_is_refused(whole):
    with pytest.raises(
        ValueError, match=r"4 updates .* moves by 0\.4%: whatever is learnt, nothing changes; lower `ema`"
    ):
        family(whole, train=TrainSettings(finetune_images=80, batch=20))
    with pytest.raises(ValueError, match="clip_sample"):
        family(whole, sampler=DdimSampler(clip=True))


def test_a_model_is_restored_bit_for_bit(fitted):
    asked, data, generator, _ = fitted
    again = asked.restored(generator.saved(), data.shape, data.classes)
    assert torch.equal(draw(again, [0, 1, 1]), draw(generator, [0, 1, 1]))
    one, two = (fit(asked, data, g, Streams(0, "lab", 1))[0].state() for g in (generator, again))
    assert all(torch.equal(value, two[name]) for name, value in one.items())


def test_labels_reach_the_network(fitted, whole):
    _, _, generator, _ = fitted
    y = torch.zeros(4, dtype=torch.int64)
    assert not torch.equal(generator.sample(y, noise()), generator.sample(y + 1, noise()))
    unconditional, _ = fit(family(whole), pages(), budget_images=0)
    assert torch.equal(unconditional.sample(y, noise()), unconditional.sample(y + 1, noise()))


def test_it_is_guided_by_its_own_kind(fitted):
    asked, data, generator, _ = fitted
    later, _ = fit(asked, data, generator, Streams(0, "lab", 1))
    y = torch.tensor([0, 1, 0, 1])
    plain, apart = (generator.guided(g, 0.5).sample(y, noise()) for g in (generator, later))
    assert_allclose(plain, generator.sample(y, noise()), atol=1e-5)
    assert not torch.allclose(apart, plain, atol=1e-4)


# Folders


def altered(folder, file, **values):
    path = folder / file
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def as_of_old(folder):
    """One folder for all, no keys but the first ones, attention by its first names: as google/ddpm-cifar10-32 is."""
    config, scheduler = (
        json.loads((folder / name).read_text()) for name in (f"unet/{CONFIG}", f"scheduler/{SCHEDULER}")
    )
    kept = ("_class_name", "beta_end", "beta_schedule", "beta_start", "clip_sample", "num_train_timesteps")
    scheduler = {key: scheduler[key] for key in kept}
    (folder / SCHEDULER).write_text(json.dumps(scheduler | {"trained_betas": None, "variance_type": "fixed_large"}))
    for key in ("add_attention", "class_embed_type", "dropout", "num_class_embeds", "mid_block_type"):
        config.pop(key)
    (folder / CONFIG).write_text(json.dumps(config))
    names = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    tensors = load_file(folder / "unet" / WEIGHTS)
    for new, old in names.items():
        tensors = {name.replace(f".{new}.", f".{old}."): value for name, value in tensors.items()}
    assert any(".query." in name for name in tensors)
    save_file(tensors, folder / WEIGHTS)
    shutil.rmtree(folder / "unet")
    shutil.rmtree(folder / "scheduler")


def test_the_first_pipelines_are_read_as_diffusers_reads_them(pipeline):
    from diffusers import UNet2DModel

    as_of_old(pipeline)
    theirs = UNet2DModel.from_pretrained(pipeline, use_safetensors=True, local_files_only=True, low_cpu_mem_usage=False)
    ours = pipelines.fresh(pipeline).unet.state_dict()
    assert ours.keys() == theirs.state_dict().keys()
    assert all(torch.equal(ours[name], value) for name, value in theirs.state_dict().items())


def test_a_network_alone_has_the_default_process(whole, pipeline):
    process = pipelines.fresh(pipeline / "unet").process
    there = pipelines.fresh(whole).process
    assert torch.equal(process.signal, there.signal)
    assert (process.prediction, process.clip, process.times) == ("epsilon", 1.0, 1000)


def test_half_precision_is_read_as_it_is(pipeline):
    path = pipeline / "unet" / WEIGHTS
    half = {name: value.half() for name, value in load_file(path).items()}
    save_file(half, path)
    read = pipelines.fresh(pipeline).unet.state_dict()
    assert all(value.dtype == torch.float32 and torch.equal(value, half[name].float()) for name, value in read.items())


def test_what_was_read_is_kept_until_somebody_looks_again(pipeline):
    first = pipelines.fresh(pipeline)
    rewrite(pipeline)
    assert pipelines.kept(pipeline) is first
    second = pipelines.fresh(pipeline)
    assert second.sha256 != first.sha256
    assert pipelines.fresh(pipeline) is second is pipelines.kept(pipeline)


def rewrite(folder):
    """Other numbers of the same kind."""
    path = folder / "unet" / WEIGHTS
    save_file({name: value + 0.01 for name, value in load_file(path).items()}, path)
    os.utime(path, ns=(1, 1))  # a clock may be too coarse to tell two writes apart


class Bomb:
    def __reduce__(self):
        return Path.touch, (Path("exploded"),)


def tensors(change):
    def damage(folder):
        path = folder / "unet" / WEIGHTS
        save_file(change(load_file(path)), path)

    return damage


def with_tensor(name, value):
    return tensors(lambda found: found | {name: value})


def cut(path, share):
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])


def piped(path):
    path.unlink()
    os.mkfifo(path)


UNET, WEIGHED, SCHEDULED = f"unet/{CONFIG}", f"unet/{WEIGHTS}", f"scheduler/{SCHEDULER}"
DAMAGES = {
    # what is done: how it is told
    "no folder": (shutil.rmtree, "there is no folder .*download it there first"),
    "a file in its place": (lambda f: (shutil.rmtree(f), f.touch()), "there is no folder"),
    "no network": (lambda f: shutil.rmtree(f / "unet"), "`config.json` is missing.*save_pretrained"),
    "no settings": (lambda f: (f / UNET).unlink(), "`unet/config.json` is missing"),
    "no scheduler": (lambda f: (f / SCHEDULED).unlink(), "`scheduler/scheduler_config.json` is missing"),
    "no numbers": (lambda f: (f / WEIGHED).unlink(), "`unet/diffusion_pytorch_model.safetensors` is missing"),
    "a pickle": (
        lambda f: (f / WEIGHED).rename((f / WEIGHED).with_suffix(".bin")),
        r"`unet/diffusion_pytorch_model.bin` is a pickle.*convert it to safetensors",
    ),
    "shards": (
        lambda f: (f / WEIGHED).rename(f / f"{WEIGHED}.index.json"),
        "`unet/diffusion_pytorch_model.safetensors` is missing: the numbers are in several files.*max_shard_size",
    ),
    "a pickle by another name": (
        lambda f: (f / WEIGHED).write_bytes(pickle.dumps(Bomb())),
        "`unet/diffusion_pytorch_model.safetensors` is no whole safetensors file.*download or save it again",
    ),
    "cut": (lambda f: cut(f / WEIGHED, 0.5), "`unet/diffusion_pytorch_model.safetensors` is no whole safetensors file"),
    "cut in its head": (lambda f: cut(f / WEIGHED, 0.01), "is no whole safetensors file"),
    "empty": (lambda f: cut(f / WEIGHED, 0.0), "is no whole safetensors file"),
    "larger than its network": (
        lambda f: os.truncate(f / WEIGHED, 10**10),
        "`unet/diffusion_pytorch_model.safetensors` has 10,000,000,000 bytes, and what belongs there at most",
    ),
    "a pipe": (lambda f: piped(f / UNET), "`unet/config.json` is missing, or no file"),
    "a tensor of another shape": (
        with_tensor("conv_in.weight", torch.zeros(8, 3, 3, 3)),
        r"has the tensor `conv_in.weight` in shape \(8, 3, 3, 3\), and its UNet wants \(8, 1, 3, 3\)",
    ),
    "a tensor too few": (
        tensors(lambda found: {name: value for name, value in found.items() if "conv_in" not in name}),
        "lacks the tensor `conv_in.bias` and 1 more.*of one and the same save",
    ),
    "a tensor too many": (with_tensor("evil", torch.zeros(1)), "has beside its UNet the tensor `evil`"),
    "a tensor that is no number": (with_tensor("conv_in.bias", torch.full((8,), torch.nan)), "no finite number"),
    "a tensor of whole numbers": (with_tensor("conv_in.bias", torch.zeros(8, dtype=torch.int64)), "no finite number"),
    "half of JSON": (lambda f: cut(f / UNET, 0.5), "`unet/config.json` is no JSON"),
    "deep JSON": (lambda f: (f / UNET).write_text("[" * 10**5), "`unet/config.json` is no JSON"),
    "no number in JSON": (lambda f: (f / UNET).write_text('{"dropout": NaN}'), "NaN is no number"),
    "a list": (lambda f: (f / UNET).write_text("[]"), "`unet/config.json` is JSON, but no settings"),
    "no text": (lambda f: (f / SCHEDULED).write_bytes(b"\xff"), "`scheduler/scheduler_config.json` is no JSON"),
    "a megabyte of settings": (
        lambda f: (f / UNET).write_text(" " * (2**20 + 1)),
        "`unet/config.json` has 1,048,577 bytes",
    ),
}
SETTINGS = [
    # file, key, value: how it is told
    (INDEX, "_class_name", "StableDiffusionPipeline", "supported: DDPMPipeline, DDIMPipeline"),
    (INDEX, "unet", ["my_module", "UNet2DModel"], "supported: UNet2DModel of diffusers"),
    (INDEX, "scheduler", ["diffusers", "PNDMScheduler"], "supported: DDPMScheduler, DDIMScheduler"),
    (UNET, "_class_name", "UNet2DConditionModel", "supported: UNet2DModel"),
    (UNET, "dropout", 0.1, "set it to 0.0"),
    (UNET, "class_embed_type", "timestep", "use a UNet with `num_class_embeds` alone"),
    (UNET, "time_embedding_type", "fourier", "supported: positional"),
    (UNET, "out_channels", 2, "and `in_channels` is 1"),
    (UNET, "in_channels", 0, "a whole number from 1 to 10,000"),
    (UNET, "layers_per_block", 10**9, "a whole number from 1 to 50"),
    (UNET, "block_out_channels", [8] * 10**4, "a list of 1 to 20"),
    (UNET, "num_class_embeds", True, "a whole number from 1"),
    (UNET, "quantization_config", {"load": "x"}, "not supported here.*use a pipeline without it"),
    (SCHEDULED, "_class_name", "PNDMScheduler", "supported: DDPMScheduler, DDIMScheduler"),
    (SCHEDULED, "beta_schedule", "sigmoid", "supported: linear, scaled_linear, squaredcos_cap_v2"),
    (SCHEDULED, "prediction_type", "flow", "supported: epsilon, v_prediction, sample"),
    (SCHEDULED, "trained_betas", [0.1], "use a pipeline without it"),
    (SCHEDULED, "thresholding", True, "use a pipeline without it"),
    (SCHEDULED, "rescale_betas_zero_snr", True, "use a pipeline without it"),
    (SCHEDULED, "variance_type", "learned_range", "use a pipeline of a fixed variance"),
    (SCHEDULED, "num_train_timesteps", 0, "a whole number from 1 to 100,000"),
    (SCHEDULED, "num_train_timesteps", True, "a whole number from 1 to 100,000"),
    (SCHEDULED, "beta_end", 1, "a number between 0 and 1"),
    (SCHEDULED, "clip_sample", "yes", "true or false belongs there"),
    (SCHEDULED, "of_tomorrow", "x", "not supported here"),
]


@pytest.mark.parametrize("what", DAMAGES)
def test_a_damaged_folder_is_refused_with_its_file(what, pipeline, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    damage, message = DAMAGES[what]
    damage(pipeline)
    with pytest.raises(PipelineError, match=message):
        pipelines.fresh(pipeline)
    assert not Path("exploded").exists()


@pytest.mark.parametrize(("file", "key", "value", "message"), SETTINGS, ids=[f"{s[1]}={s[2]!s:.20}" for s in SETTINGS])
def test_a_setting_that_is_not_supported_is_refused_with_its_key(file, key, value, message, pipeline):
    altered(pipeline, file, **{key: value})
    with pytest.raises(PipelineError, match=f"`{file}`: `{key}` is .*{message}"):
        pipelines.fresh(pipeline)


def test_settings_that_do_not_fit_together_are_refused(pipeline):
    altered(pipeline, UNET, norm_num_groups=3)
    with pytest.raises(PipelineError, match=f"`{UNET}` describes no UNet2DModel that can be made: .*divisible"):
        pipelines.fresh(pipeline)


def test_a_key_that_is_off_asks_for_nothing(pipeline):
    altered(pipeline, UNET, of_tomorrow=None)
    altered(pipeline, SCHEDULED, of_tomorrow=False)
    pipelines.fresh(pipeline)


def test_a_sampler_that_would_explode_is_refused(pipeline):
    put_scheduler(pipeline, "DDPMScheduler", "squaredcos_cap_v2", "epsilon", None)
    with pytest.raises(PipelineError, match=r"`clip_sample` is false, .* explodes \(set it to true\)"):
        pipelines.fresh(pipeline)


def test_only_the_files_of_a_pipeline_are_opened(pipeline):
    """A folder may hold whatever else."""
    for name in ("unet.py", "unet/modeling.py", "unet/diffusion_pytorch_model.bin", "unet/pytorch_model.bin"):
        (pipeline / name).write_bytes(pickle.dumps(Bomb()))
    with opened_files() as opened:
        pipelines.fresh(pipeline)
    inside = {Path(path).relative_to(pipeline).as_posix() for path in opened if path.startswith(str(pipeline))}
    assert inside == {INDEX, UNET, WEIGHED, SCHEDULED}


# Scenarios

CARD = "{family: diffusers, path: PATH, sampler: {steps: 2}, train: {finetune_images: 40, batch: 20, ema: 0.5}}"
TEXT = f"""\
name: pretrained
rounds: 3
humans: {{source: digits, labelled: false, held_out: 40}}
web: {{archive: 60, retention: {{synthetic_rounds: 1}}}}
users: [{{name: crowd, count: 20}}]
metrics: [precision]
providers: [{{name: lab, card: {CARD}}}]
checkpoint_minutes: 0
"""


def text(folder, *changes):
    found = TEXT
    for old, new in changes:
        assert old in found
        found = found.replace(old, new)
    return found.replace("PATH", str(folder))


def wrong(folder, *changes, **options):
    """(line, what) that is wrong with a scenario in the folder's own."""
    path = folder.parent / "x.yaml"
    path.write_text(text(folder, *changes))
    try:
        scenarios.from_document(read(path), **{"overrides": {}, **options})
    except FaultsError as error:
        return [(fault.line, f"{fault.where}: {fault.problem} ({fault.remedy})") for fault in error.faults]
    return []


def test_a_folder_is_looked_into_before_the_run(pipeline):
    assert wrong(pipeline) == []
    (pipeline / WEIGHED).unlink()
    [(line, what)] = wrong(pipeline)
    assert line == 7 and what.startswith(f"providers.lab.card.path: `{WEIGHED}` is missing")


@pytest.mark.parametrize(
    ("humans", "options", "what"),
    [
        ("{source: gaussian, held_out: 40}", {}, "it makes images, and the human source has vectors"),
        ("{source: digits}", {}, "takes no labels, .* source has 10 classes.*`labelled: false`, or use a UNet"),
        ("{source: digits}", {"num_class_embeds": 4}, "4 classes .*and the human source 10"),
        ("{source: digits, labelled: false}", {"num_class_embeds": 10}, "10 classes .*source 1.*`labelled: true`"),
        ("{source: digits, labelled: false}", {"sample_size": 16}, "of 1 x 16 x 16 .*source has 1 x 8 x 8"),
        ("{source: digits, labelled: false}", {"in_channels": 3, "out_channels": 3}, "of 3 x 8 x 8 .*has 1 x 8 x 8"),
    ],
)  # fmt: skip
def test_a_pipeline_that_does_not_fit_the_human_source_is_refused(humans, options, what, tmp_path):
    folder = saved(tmp_path / "pipeline", **options)
    changed = ("{source: digits, labelled: false, held_out: 40}", humans)
    [(line, message)] = wrong(folder, changed, ("[precision]", "null"))
    assert line == 7
    assert re.search(f"providers.lab.card.path: .*{what}", message)


def test_a_size_that_no_network_takes_is_refused(tmp_path):
    folder = saved(tmp_path / "pipeline", sample_size=None)
    assert list(pipelines.fresh(folder).misfits((1, 8, 6), 1)) == []
    [(problem, _)] = pipelines.fresh(folder).misfits((1, 7, 7), 1)
    assert "takes no images of 1 x 7 x 7" in problem


@pytest.fixture
def places(pipeline, tmp_path, monkeypatch):
    """A scenario's folder, a working directory, and a pipeline that is in neither."""
    for name in ("own", "work", "data"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setenv("ECOSYSTEM_DATA", str(tmp_path / "data"))
    return tmp_path


def test_weights_are_in_a_place_that_may_be_named(places, pipeline):
    strange = ("PATH", str(pipeline))
    own = places / "own" / "pipeline"
    with opened_files() as opened:
        [(line, what)] = wrong(own, strange)
    assert line == 7 and "--allow-paths" in what and "providers.lab.card.path: the path" in what
    assert not [path for path in opened if path.startswith(str(pipeline))]
    assert wrong(own, strange, allow_paths=True) == []
    assert wrong(own, strange, overrides={"providers.lab.card.path": str(pipeline)}) == []
    shutil.copytree(pipeline, own)
    assert wrong(own) == []
    (own / UNET).unlink()
    (own / UNET).symlink_to(pipeline / UNET)  # one file of it leads out
    assert "--allow-paths" in wrong(own)[0][1]


def test_a_card_s_file_may_not_lead_elsewhere_either(places, pipeline):
    own = places / "own" / "pipeline"
    card = CARD.replace("PATH", str(pipeline))
    (places / "own" / "mine.yaml").write_text(f"name: mine\nabout: a test\nmodel: {card}\n")
    named = (f"card: {CARD}", f"model: {places / 'own' / 'mine.yaml'}")
    [(line, what)] = wrong(own, named)
    assert line == 7 and what.startswith("providers.lab.model: the path") and "--allow-paths" in what
    assert wrong(own, named, allow_paths=True) == []


def test_events_name_weights_as_well(places, pipeline):
    own = shutil.copytree(pipeline, places / "own" / "pipeline")
    late = f"{{name: late, card: {CARD.replace('PATH', str(pipeline))}}}"
    for event in (
        f"{{at: 1, add: {{providers: [{late}]}}}}",
        f"{{at: 1, set: {{providers.lab.card.path: {pipeline}}}}}",
    ):
        [(_, what)] = wrong(own, ("checkpoint_minutes: 0", f"events: [{event}]"))
        assert what.startswith("events.0.") and "--allow-paths" in what
        assert wrong(own, ("checkpoint_minutes: 0", f"events: [{event}]"), allow_paths=True) == []


def test_another_content_is_another_question(pipeline):
    asked = scenarios.from_text(text(pipeline))
    assert asked.weights == {str(pipeline): pipelines.fresh(pipeline).sha256}
    assert scenarios.from_text(text(pipeline)).digest == asked.digest
    rewrite(pipeline)
    assert scenarios.from_text(text(pipeline)).digest != asked.digest
    altered(pipeline, SCHEDULED, clip_sample=False)
    assert len({scenarios.from_text(text(pipeline)).weights[str(pipeline)], *asked.weights.values()}) == 2


def test_it_distils_nothing_into_a_checkpoint(pipeline):
    late = f"{{name: late, card: {CARD}, distil: {{of: lab, images: 20}}}}"
    changed = (f"{CARD}}}]", f"{CARD}}}, {late}]")
    [(_, what)] = wrong(pipeline, changed)
    assert what.startswith("providers.late.distil: generation 0 of `late` is what it has on disk")
    assert wrong(pipeline, (f"{CARD}}}]", f"{CARD}}}, {late.replace('path:', 'train_first: true, path:')}]")) == []


@pytest.fixture(scope="module")
def lived(whole, tmp_path_factory):
    """A world of three generations, with its question and record."""
    asked = scenarios.from_text(text(whole))
    folder = tmp_path_factory.mktemp("lived") / "run"
    return asked, folder, finished(asked, folder)


def test_a_world_begins_with_the_checkpoint(lived, whole):
    asked, folder, _ = lived
    rows = [line["providers"]["lab"]["trained"] for line in RunRecord(folder).seed(0).lines()]
    assert [(row["pages"], row["lambda"], row["lineage"]) for row in rows[:2]] == [(0, 0.0, 1.0), (80, 20 / 60, 1.25)]
    assert rows[0]["loss"] is None and rows[1]["loss"] is not None
    assert [progress.expected(asked, round) for round in range(3)] == [{"lab": 0.0}, {"lab": 2.0}, {"lab": 2.0}]
    assert told("report", folder) == 0


def test_a_run_that_was_left_ends_with_the_same_bytes(lived, tmp_path):
    asked, _, bytes_ = lived
    for number, stop in enumerate(("round", "progress")):
        folder = tmp_path / f"run-{number}"
        events = loop.run(asked, [0], folder)
        next(e for e in events if e.kind == stop and (e.line or e.progress.round == 1))
        events.close()
        pipelines.kept.cache_clear()  # as in another process
        assert finished(asked, folder) == bytes_


def test_a_run_does_not_go_on_with_other_weights(pipeline, tmp_path):
    asked, folder = scenarios.from_text(text(pipeline)), tmp_path / "run"
    events = loop.run(asked, [0], folder)
    next(e for e in events if e.kind == "round")
    events.close()
    left = outcome(folder)
    rewrite(pipeline)
    with pytest.raises(ScenarioError, match=r"the weights in .* are not those that were asked for"):
        list(loop.run(asked, [0], folder))
    with pytest.raises(RecordError, match=r"holds a run of another question:\n  weights\."):
        list(loop.run(scenarios.from_text(text(pipeline)), [0], folder))
    assert outcome(folder) == left


def test_a_report_opens_no_folder_of_weights(lived, whole, tmp_path):
    """It is a stranger's: the folder may be anything, and gone."""
    asked, folder, _ = lived
    run = shutil.copytree(folder, tmp_path / "run")
    assert question_of(RunRecord(run)).digest == asked.digest
    with opened_files() as opened:
        assert told("report", run) == 0
    assert not [path for path in opened if path.startswith(str(whole))]
    resolved = run / "scenario.resolved.yaml"
    resolved.write_text(resolved.read_text().replace(str(whole), "/nowhere/pipeline"))
    assert told("report", run) == 0
    with pytest.raises(PipelineError, match="there is no folder /nowhere/pipeline"):
        list(loop.run(question_of(RunRecord(run)), [1], run))


def test_records_that_cannot_be_are_refused(lived, tmp_path):
    """Of a stranger: checksums that are none, and a training set without pages that has parts."""
    _, folder, _ = lived
    run = shutil.copytree(folder, tmp_path / "run")
    path = run / "scenario.resolved.yaml"
    kept = path.read_text()
    path.write_text(f"{kept.partition('weights:')[0]}weights: 3\n")
    assert told("report", run) == 74
    path.write_text(kept)
    path = run / "seed-0" / "metrics.jsonl"
    assert path.read_text().count('"by_batch": []') == 1
    path.write_text(path.read_text().replace('"by_batch": []', '"by_batch": [[0, 0]]'))
    assert told("report", run) == 74


def test_a_fork_is_of_the_weights_on_record(lived, pipeline, tmp_path):
    asked, folder, bytes_ = lived
    record = RunRecord(folder)
    same = forking.asked(record, 2, {})
    assert same.digest == asked.digest
    forking.fork(record, same, 2, [0], tmp_path / "same")
    assert finished(same, tmp_path / "same").items() >= bytes_.items()
    rewrite(pipeline)
    other = forking.asked(record, 2, {"providers.lab.card.path": str(pipeline)})
    assert len(other.weights) == 2 and other.digest != asked.digest
    with pytest.raises(ScenarioError, match="there is no folder"):
        forking.asked(record, 2, {"providers.lab.card.path": "nowhere"})
