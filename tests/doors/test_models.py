from __future__ import annotations

from decimal import Decimal

from tests.support.stack import Stack

MODELS = """{ models { id name provider mode contextWindow maxOutputTokens
  inputUsdPerMillionTokens outputUsdPerMillionTokens cachedInputUsdPerMillionTokens embeddingDimensions
  supports { tools parallelTools vision reasoning webSearch jsonSchema promptCaching audioInput audioOutput pdfInput }
} }"""


async def test_models_have_prices_limits_and_capabilities(stack: Stack) -> None:
    answer = await stack.graphql(MODELS)
    assert "errors" not in answer, answer
    models = {model["name"]: model for model in answer["data"]["models"]}
    assert list(models) == sorted(models)
    chat = models[stack.chat_model]
    assert (chat["id"], chat["provider"], chat["mode"]) == (f"model:{stack.chat_model}", "openai", "CHAT")
    assert (chat["contextWindow"], chat["maxOutputTokens"]) == (128000, 4096 if stack.real else 16384)
    prices = (chat["inputUsdPerMillionTokens"], chat["outputUsdPerMillionTokens"])
    assert prices == (("1", "2") if stack.real else ("0.15", "0.6"))
    assert chat["cachedInputUsdPerMillionTokens"] == (None if stack.real else "0.075")
    assert chat["supports"]["tools"] is True
    assert chat["supports"]["vision"] is not stack.real
    assert chat["supports"]["jsonSchema"] is not stack.real
    embedding = models["text-embedding-3-small"]
    assert (embedding["mode"], embedding["embeddingDimensions"]) == ("EMBEDDING", 1536)
    assert embedding["supports"]["tools"] is False
    assert embedding["inputUsdPerMillionTokens"] == "0.02"


async def test_models_of_one_mode(stack: Stack) -> None:
    answer = await stack.graphql("{ models(mode: EMBEDDING) { name mode } }")
    assert stack.embedding_model in [model["name"] for model in answer["data"]["models"]]
    assert {model["mode"] for model in answer["data"]["models"]} == {"EMBEDDING"}


async def test_a_key_lists_its_permitted_models(stack: Stack) -> None:
    await stack.own_key(models=[stack.chat_model])
    answer = await stack.graphql("{ models { name supports { pdfInput } } }")
    assert [model["name"] for model in answer["data"]["models"]] == [stack.chat_model]
    query = "query($id: ID!) { node(id: $id) { id } }"
    assert (await stack.graphql(query, {"id": f"model:{stack.chat_model}"}))["data"]["node"] is not None
    unseen = await stack.graphql(query, {"id": f"model:{stack.embedding_model}"})
    assert unseen["errors"][0]["extensions"]["code"] == "NOT_FOUND"
    asked = {
        "model": stack.embedding_model,
        "messages": [{"role": "USER", "content": "hi"}],
        "idempotencyKey": "k",
    }
    refused = await stack.graphql("mutation($i: CompletionInput!) { complete(input: $i) { text } }", {"i": asked})
    extensions = refused["errors"][0]["extensions"]
    assert (extensions["code"], extensions["reason"]) == ("FORBIDDEN", "MODEL_NOT_ALLOWED")


async def test_no_price_is_in_scientific_notation(stack: Stack) -> None:
    answer = await stack.graphql(MODELS)
    prices = [
        model[field]
        for model in answer["data"]["models"]
        for field in model
        if field.endswith("UsdPerMillionTokens") and model[field] is not None
    ]
    assert prices
    assert all("E" not in price.upper() and Decimal(price) >= 0 for price in prices)
