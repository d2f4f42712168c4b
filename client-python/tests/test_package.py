"""The package as users get it: built, installed in a clean place, its README run as it stands."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import venv
from pathlib import Path

import pytest
from support import HERE, Broker, Program

ROOT = HERE.parent
BLOCK = re.compile(r"^```python\n# (\w+\.py)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clean environment with nothing but the wheel and what it asks for."""
    folder = tmp_path_factory.mktemp("installed")
    wheels = folder / "wheels"
    build = [sys.executable, "-m", "build", "--no-isolation", "--wheel", "--outdir", str(wheels)]
    subprocess.run([*build, str(ROOT)], check=True, capture_output=True)
    [wheel] = wheels.glob("lessor-*.whl")
    # Without pip of its own, which takes longer to install than the rest.
    venv.create(folder / "venv", with_pip=False)
    python = folder / "venv" / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "--disable-pip-version-check"]
    subprocess.run([*pip, "install", "--quiet", str(wheel)], check=True)
    return python


def test_the_readme_runs_where_the_wheel_is_installed(installed: Path, tmp_path: Path) -> None:
    for name, code in BLOCK.findall((ROOT / "README.md").read_text()):
        (tmp_path / name).write_text(code)
    broker = Broker(tmp_path, "sqlite::memory:")
    python = str(installed)

    def run(name: str) -> str:
        env = {"PATH": os.environ["PATH"], "LESSOR_SERVER": f"http://{broker.address}"}
        code = (tmp_path / name).read_text().replace("127.0.0.1:7077", broker.address)
        (tmp_path / name).write_text(code)
        done = subprocess.run(
            [python, name],
            cwd=tmp_path,
            env=env,
            check=False,
            capture_output=True,
            text=True,
            timeout=30,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    log = tmp_path / "worker.log"
    worker = Program([python, str(tmp_path / "worker.py")], log, LESSOR_SERVER=broker.address)
    try:
        said = run("producer.py").splitlines()
        assert said == ["SUCCEEDED {'sent_to': 'ada@example.com'}", "JOB_SUCCEEDED"]
        assert run("errors.py") == "JOB_NOT_FOUND\n"
        assert run("operated.py") == ""
        assert worker.stop() == 0
    finally:
        broker.stop()


def test_the_wheel_is_typed_and_brings_its_protocol(installed: Path) -> None:
    look = (
        "import pathlib, lessor, lessor.v1.broker_pb2_grpc as stubs;"
        "print((pathlib.Path(lessor.__file__).parent / 'py.typed').exists(), lessor.__version__)"
    )
    done = subprocess.run(
        [str(installed), "-c", look], check=True, capture_output=True, text=True, timeout=30
    )
    assert done.stdout == "True 0.1.0\n"
