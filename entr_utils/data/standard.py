"""Sets that are downloaded where they are missing: UC Merced, Imagenette at 160 px, CIFAR-10 as PNG files.

The last two become the folders of a split, as they come. Addresses and checksums are torchvision's, and so is what
reads CIFAR-10; downloading and unpacking are `download`'s.
"""

from pathlib import Path

from PIL import Image
from torchvision.datasets import CIFAR10, Imagenette

from entr_utils.data.download import download_folder, download_ucm
from entr_utils.util import track


def fetch(name: str, data: Path) -> Path:
    """The folder `data/<name>`, downloaded and checked. Raises UserError where that fails."""
    return {"ucm": download_ucm, "imagenette": imagenette, "cifar10": cifar10}[name](data)


def imagenette(data: Path) -> Path:
    """`data/imagenette/{train,val}/<class>/`: ten easy classes of ImageNet (Howard 2019), shorter side 160 px."""
    url, md5 = Imagenette._ARCHIVES["160px"]
    inside = "imagenette2-160"
    return download_folder(data / "imagenette", [url], data / f"{inside}.tgz", md5, lambda made: made / inside)


def cifar10(data: Path) -> Path:
    """`data/cifar10/{train,test}/<class>/`: 50,000 and 10,000 images of 32 px (Krizhevsky 2009)."""
    return download_folder(data / "cifar10", [CIFAR10.url], data / CIFAR10.filename, CIFAR10.tgz_md5, as_files)


def as_files(unpacked: Path) -> Path:
    """CIFAR-10's arrays as files in a folder beside them; each part is checked by torchvision's md5 of it."""
    folder = unpacked / "files"
    for side in ("train", "test"):
        images = CIFAR10(unpacked, train=side == "train")
        named = [folder / side / name for name in images.classes]
        for one in named:
            one.mkdir(parents=True)
        for i, label in enumerate(track(images.targets, f"writing {side} images, once")):
            Image.fromarray(images.data[i]).save(named[label] / f"{i:05}.png")
    return folder
