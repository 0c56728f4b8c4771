"""Renders a chat template in a process of its own, whose time and memory are bounded.

A template is a program out of a file that anybody made: it may loop for ever or fill the memory. This module
is therefore run as a script: JSON in, JSON out; it imports nothing of the project.
"""

from datetime import datetime
import json
import resource
import sys

from jinja2 import TemplateError, TemplateSyntaxError
from jinja2.ext import Extension, loopcontrols
from jinja2.nodes import Scope
from jinja2.sandbox import ImmutableSandboxedEnvironment

__all__ = ["MOST_CHARACTERS", "SECONDS", "render"]

SECONDS = 3
"""Of the processor's time."""
MEMORY = 1 << 29
MOST_CHARACTERS = 1 << 20


class Generation(Extension):
    """``{% generation %}``, which marks what the model has said: nothing but its body is rendered."""

    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return Scope(body).set_lineno(line)


def _raise_exception(message):
    raise TemplateError(message)


def _to_json(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    """Without the escapes of HTML that Jinja's own has."""
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )


def render(template, values):
    """The text of ``template`` with ``values``, in an environment as of the ``transformers`` package."""
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols]
    )
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _raise_exception
    environment.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
    return environment.from_string(template).render(**values)


def _answer(template, values):
    """The text, or one line about what is wrong."""
    try:
        text = render(template, values)
    except TemplateSyntaxError as error:
        return dict(error=f"line {error.lineno}: {error.message}")
    except TemplateError as error:
        return dict(error=error.message or type(error).__name__)
    except MemoryError:
        return dict(error="it needs too much memory")
    except RecursionError:
        return dict(error="it calls itself without end")
    except Exception as error:  # whatever Python says of a program that anybody wrote
        return dict(error=str(error) or type(error).__name__)
    if len(text) > MOST_CHARACTERS:
        return dict(error=f"it makes more than {MOST_CHARACTERS} characters")
    return dict(text=text)


def main():
    """The script."""
    request = json.load(sys.stdin)
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    answer = _answer(**request)
    if "error" in answer:
        answer["error"] = " ".join(answer["error"].split())[:500]
    json.dump(answer, sys.stdout)


if __name__ == "__main__":
    main()
