"""Sets that are downloaded where they are missing, as folders: UC Merced; Imagenette and CIFAR-10 with their split."""

from pathlib import Path

from PIL import Image
from torchvision.datasets import CIFAR10, Imagenette

from entr_utils.data.download import download_folder, download_ucm
from entr_utils.util import track


def fetch(name: str, data: Path) -> Path:
    """The folder `data/<name>`, downloaded and checked. Raises UserError where no mirror gives it.

    ucm; imagenette: ten easy classes of ImageNet (Howard 2019), shorter side 160 px; cifar10: 60,000 images of 32 px in
    ten classes (Krizhevsky 2009). The last two stay split as they come; addresses and checksums are torchvision's.
    """
    if name == "imagenette":
        url, md5 = Imagenette._ARCHIVES["160px"]
        return download_folder(data / name, [url], md5, lambda unpacked: unpacked / "imagenette2-160")
    if name == "cifar10":
        return download_folder(data / name, [CIFAR10.url], CIFAR10.tgz_md5, _cifar_as_files)
    return download_ucm(data)


def _cifar_as_files(unpacked: Path) -> Path:
    """CIFAR-10's arrays as PNG files in a folder beside them; torchvision checks each part by its md5."""
    for side in ("train", "test"):
        images = CIFAR10(unpacked, train=side == "train")
        for i, label in enumerate(track(images.targets, f"writing {side} images, once")):
            path = unpacked / "files" / side / images.classes[label] / f"{i:05}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(images.data[i]).save(path)
    return unpacked / "files"
