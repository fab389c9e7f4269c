"""A question to a local server by LangChain: python with_langchain.py [URL [MODEL]]; needs langchain-ollama."""

import sys

from langchain_ollama import ChatOllama


def main(url: str = "http://127.0.0.1:8080", model: str = "qwen3") -> None:
    """Prints the answer as it comes."""
    chat = ChatOllama(base_url=url, model=model, reasoning=False)
    for chunk in chat.stream("What is 12 + 7?"):
        print(chunk.text, end="", flush=True)
    print()


if __name__ == "__main__":
    main(*sys.argv[1:3])
