"""Takes the README's picture: the top of the page of a finished run, as a browser shows it.

python -m mcl_jax.main --config=configs/quickstart.py
python docs/quickstart_picture.py runs/quickstart docs/quickstart.png     # wants Chromium
"""

import pathlib
import shutil
import subprocess
import sys
import tempfile

from PIL import Image

from mcl_jax.report import write_page

WIDTH, HEIGHT = 1200, 1268
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
OPTIONS = ("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run")


def main(workdir: str, output: str) -> None:
    """Writes the page of a workdir and a picture of its top."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        sys.exit(f"error: none of {', '.join(BROWSERS)} is installed.")
    with tempfile.TemporaryDirectory() as folder:
        page = write_page([workdir], pathlib.Path(folder, "page.html"))
        shot = pathlib.Path(folder, "shot.png")
        size = f"--window-size={WIDTH},{HEIGHT}"
        files = f"--user-data-dir={folder}/profile", f"--screenshot={shot}", page.as_uri()
        subprocess.run([browser, *OPTIONS, size, *files], check=True, capture_output=True)
        Image.open(shot).convert("RGB").save(output, optimize=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
