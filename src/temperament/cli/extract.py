"""``temperament extract``: both poles of a contrast as persona files, and their signatures."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from temperament.atomic import ensure_folder
from temperament.cli.console import out, print_json, progress_bar, tell, working
from temperament.cli.options import MAX_SEED, Device, Dtype, Json, Limit, MaxTokens, Model, Revision, Source
from temperament.errors import TemperamentError

if TYPE_CHECKING:
    from temperament.calibration import Contrast, RolePlay


def command(
    contrast: Annotated[
        str,
        typer.Option(
            "--contrast",
            help="Built-in name, file, or PLUS,MINUS (two files); #all takes a whole file instead of its calibration "
            "split. Example: --contrast extraversion",
        ),
    ],
    folder: Annotated[
        Path, typer.Option("--out", help="Folder for the personas and signatures. Example: --out outgoing")
    ],
    model: Model = "smollm2-135m",
    method: Annotated[
        str, typer.Option("--method", help="See 'temperament list methods'. Example: --method contrastive-tilt")
    ] = "contrastive-tilt",
    sparsity: Annotated[
        str | None,
        typer.Option(
            "--sparsity", help="Share of inputs pruned per row; default: the method's. Example: --sparsity 0.2"
        ),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="A setting of the method, or sparsity.SELECTOR for some Linears only; repeatable; "
            "'temperament list methods' names them. Example: --set t=6 --set sparsity.mlp.layers.0-9=0.1",
        ),
    ] = None,
    source: Source = "texts",
    threshold: Annotated[
        float | None,
        typer.Option("--threshold", help="For neurons: |δ| above which one is edited. Example: --threshold 0.1"),
    ] = None,
    max_tokens: MaxTokens = 100,
    tokens: Annotated[
        str, typer.Option("--tokens", help="Count response tokens or all tokens. Example: --tokens all")
    ] = "response",
    limit: Limit = None,
    seed: Annotated[
        int, typer.Option("--seed", min=0, max=MAX_SEED, help="Seed of samples and halves. Example: --seed 42")
    ] = 42,
    dtype: Dtype = None,
    device: Device = None,
    revision: Revision = None,
    json_output: Json = False,
) -> None:
    """Find both poles of a contrast in a model.

    Writes DIR/plus.persona, DIR/minus.persona and DIR/signatures/.
    An interrupted run goes on where it stopped when it is started again.
    """
    from temperament.calibration import Contrast, few_texts
    from temperament.language_model import load
    from temperament.methods import SparsityPlan, find_method
    from temperament.personas import extract, notes_of
    from temperament.signatures import Writing

    if tokens not in ("response", "all"):
        raise TemperamentError(f"unknown token rule {tokens!r}", "use --tokens response or --tokens all")
    own, shares = read_settings(settings or [])
    row = find_method(method)
    if threshold is not None:
        own["threshold"] = str(threshold)
    row.read(own)
    plan: SparsityPlan | None = None
    if row.sparsity is not None:
        plan = SparsityPlan.of({"default": row.sparsity if sparsity is None else sparsity, **shares})
    elif sparsity is not None or shares:
        raise TemperamentError(f"the method {method} has no sparsity", f"settings for --set: {row.settings}")
    if source == "generate" and row.kind != "neurons":
        raise TemperamentError(f"--source generate with --method {method}", "use --method neurons")
    if source == "generate" and tokens != "response":
        raise TemperamentError(f"--tokens {tokens} with --source generate", "leave it out: what is written counts")
    writing = Writing(max_tokens=max_tokens)
    data = calibration_data(contrast, source, limit, seed)
    for note in data.notes:
        tell(note)
    if limit is None and isinstance(data, Contrast) and (warning := few_texts(data)):
        tell(warning)
    start = time.perf_counter()
    with working(f"loading {model}"):
        lm = load(model, dtype=dtype, device=device, revision=revision)
    seconds = {"load": time.perf_counter() - start}
    ensure_folder(folder / "signatures")
    with progress_bar("signatures") as progress:
        found = extract(
            lm,
            data,
            method=method,
            sparsity=plan,
            tokens=tokens,  # type: ignore[arg-type]
            seed=seed,
            writing=writing,
            folder=folder / "signatures",
            progress=progress,
            settings=own,
        )
    start = time.perf_counter()
    paths = {persona.pole: folder / f"{persona.pole}.persona" for persona in (found.plus, found.minus)}
    dialled = [path.name for path in paths.values() if _is_dialled(path)]
    for persona in (found.plus, found.minus):
        persona.save(paths[persona.pole])
    if dialled:
        tell(f"{' and '.join(dialled)} had a dialled strength; the new ones have none")
    seconds |= {**found.seconds, "write": time.perf_counter() - start}
    origin = found.plus.provenance
    result: dict[str, Any] = {
        "model": origin["model"],
        "contrast": {key: origin["data"][key] for key in ("name", "split", "hash", "licence")},
        "method": method,
        "parameters": {
            **origin["method"]["parameters"],
            **({"sparsity": plan.as_json()} if plan else {}),
            **({"source": source} if row.kind == "neurons" else {}),
            "tokens": origin["data"]["counted"],
            "seed": seed,
        },
        "items": origin["data"]["items"],
        "tokens": origin["data"]["tokens"],
        "seconds": seconds,
        **found.details,
        "bytes": {pole: path.stat().st_size for pole, path in paths.items()},
        "signature_bytes": sum(path.stat().st_size for path in (folder / "signatures").rglob("*") if path.is_file()),
    }
    fewest = min(origin["data"]["tokens"].values())
    if "neurons" in found.details and fewest < _ENOUGH:
        tell(f"only {fewest} tokens of a pole were counted; with few of them most neurons differ by chance")
    for text in notes_of(found.details):
        tell(text)
    if json_output:
        print_json(result)
        return
    from temperament.report.tables import extraction_table

    out.print(extraction_table(result))
    out.print(f"written: {', '.join(map(str, paths.values()))} and {folder / 'signatures'}/", soft_wrap=True)


def _is_dialled(path: Path) -> bool:
    """Whether a persona file is there that holds the strength of a dial."""
    from temperament.personas import open_persona

    try:
        return open_persona(path).dial is not None
    except TemperamentError:
        return False


#: Tokens per pole below which activation probabilities are too uncertain for the usual threshold.
_ENOUGH = 500


def calibration_data(spec: str, source: str, limit: int | None, seed: int) -> Contrast | RolePlay:
    """Texts, or descriptions and questions to act out."""
    from temperament.calibration import resolve_contrast, resolve_roleplay

    if source not in ("texts", "generate"):
        raise TemperamentError(f"--source {source}", "use texts or generate")
    if source == "generate":
        return resolve_roleplay(spec, limit=limit, seed=seed)
    return resolve_contrast(spec, limit=limit, seed=seed)


def read_settings(pairs: list[str]) -> tuple[dict[str, str], dict[str, str]]:
    """Split ``key=value`` pairs into method settings and ``sparsity.SELECTOR`` shares."""
    own: dict[str, str] = {}
    shares: dict[str, str] = {}
    for pair in pairs:
        key, mark, value = pair.partition("=")
        if not mark or not key.strip() or not value.strip():
            raise TemperamentError(f"--set {pair!r} is not key=value", "write for example --set t=6")
        if key.startswith("sparsity."):
            shares[key.removeprefix("sparsity.")] = value.strip()
        else:
            own[key.strip()] = value.strip()
    return own, shares
