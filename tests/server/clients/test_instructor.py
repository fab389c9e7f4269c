"""instructor: answers as objects, by calls and by schemas."""

import pytest
from pydantic import BaseModel

from tests.server.clients.conftest import call, text

instructor = pytest.importorskip("instructor")
openai = pytest.importorskip("openai")
pytestmark = pytest.mark.slow


class Sky(BaseModel):
    city: str
    foggy: bool


SKY = '{"city": "Prague", "foggy": true}'


@pytest.mark.parametrize("mode", ["TOOLS", "JSON_SCHEMA", "JSON"])
def test_an_object(told, mode):
    told.will_say(call("Sky", SKY) if mode == "TOOLS" else text(SKY))
    client = instructor.from_openai(openai.OpenAI(base_url=told.url, api_key="any"), mode=instructor.Mode[mode])
    found = client.chat.completions.create(
        model="scripted", messages=[{"role": "user", "content": "hi"}], response_model=Sky, max_retries=0
    )
    assert found.model_dump() == {"city": "Prague", "foggy": True}


def test_an_object_that_grows(told):
    told.will_say(call("PartialSky", SKY))
    client = instructor.from_openai(openai.OpenAI(base_url=told.url, api_key="any"))
    messages = [{"role": "user", "content": "hi"}]
    *_, last = client.chat.completions.create_partial(model="scripted", messages=messages, response_model=Sky)
    assert (last.city, last.foggy) == ("Prague", True)
