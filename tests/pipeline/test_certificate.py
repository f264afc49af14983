"""pipeline.toml's text with another model and a certificate: comments and order stay."""

import pytest

from llmbatch.errors import PipelineError
from llmbatch.pipeline import with_choice

TEXT = """\
# mine
label = "night"
[request]   # what is sent
params = { temperature = 0 }  # model = "no"
model = "old"  # a remark
system = '''
model = "in a text"
'''

[certificate]  # by hand
model = "older"
rows = 3

[prices.old]
input = 1
output = 2
"""


def test_only_the_model_and_the_certificate_change() -> None:
    found = with_choice(TEXT, 'new "one"', {"model": "m", "rows": 150, "score": 0.95})
    assert found == TEXT.replace('"old"  #', '"new \\"one\\""  #').replace(
        'model = "older"\nrows = 3\n', 'model = "m"\nrows = 150\nscore = 0.95\n'
    )
    assert with_choice(found, "new", {"rows": 1}).count("[certificate]") == 1


def test_a_certificate_is_added_at_the_end() -> None:
    found = with_choice("request.model = 'a'\n", "b", {"rows": 1})
    assert found.startswith('request.model = "b"\n\n[certificate]')
    assert found.endswith("rows = 1\n")


@pytest.mark.parametrize(
    "text",
    [
        'request = { model = "a" }\n',
        "[request]\nsystem = '''\nmodel = \"a\"\n'''\nmodel = \"b\"\n",
        '[request]\n"model" = "a"\n',
        '[request]\nmodel = """a"""\n',
    ],
)
def test_what_cannot_be_changed_without_a_doubt_is_left_alone(text: str) -> None:
    with pytest.raises(PipelineError, match='set model = "new" in it yourself'):
        with_choice(text, "new", {"rows": 1})
