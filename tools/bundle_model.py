"""Put a trained model among those that langlift brings: its weights in 8 bits, its configuration and tokenizer.

    python tools/bundle_model.py runs/mini/model src/langlift/bundled/langlift-mini

The folder is new or empty; its README.md is written by hand.
"""

import json
import sys
from pathlib import Path

from langlift.backbones.eight_bits import write_eight_bits
from langlift.backbones.loading import load_masked_model, load_tokenizer
from langlift.files import new_folder


def main(model: str, folder: Path) -> None:
    """Write the model of a folder into another one, and say what its files weigh."""
    with new_folder(folder) as staging:
        write_eight_bits(load_masked_model(model), staging)
        load_tokenizer(model).save_pretrained(staging)
        pieces = staging / "tokenizer.json"
        content = json.loads(pieces.read_text(encoding="utf-8"))
        pieces.write_text(json.dumps(content, ensure_ascii=False, separators=(",", ":")), encoding="utf-8")
    for path in sorted(folder.iterdir()):
        sys.stdout.write(f"{path}: {path.stat().st_size:,} bytes\n")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
