package org.qwen3edge;

/** What the library refused: its text says what was expected and what was found. */
public final class Qwen3EdgeException extends RuntimeException {
  private static final long serialVersionUID = 1;

  private final int status;

  Qwen3EdgeException(int status, String text) {
    super(text);
    this.status = status;
  }

  /** As qwen3edge.h numbers them. */
  public int status() {
    return status;
  }
}
