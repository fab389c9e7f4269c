package org.qwen3edge;

import java.nio.charset.StandardCharsets;

/**
 * A model that is loaded; any thread may use it. Close what was made of it before it. All else is for one thread at a
 * time, but for {@link Answer#cancel}. From Kotlin: {@code Model("model.q3e").use { ... }}.
 */
public final class Model implements AutoCloseable {
  private long handle;

  /** With the settings that the library chooses. */
  public Model(String path) {
    this(path, 0, 0);
  }

  /**
   * @param context positions an answer; 0: 4096, or all that the model knows
   * @param memory bytes that the process may hold resident; 0: what the machine leaves
   */
  public Model(String path, int context, long memory) {
    handle = Native.load(Native.bytes(path), context, memory);
  }

  /** Puts a request into the queue; it is copied. */
  public Answer answer(Request request) {
    return new Answer(Native.newAnswer(open(handle), open(request.handle)));
  }

  @Override
  public void close() {
    Native.freeModel(handle);
    handle = 0;
  }

  private static long open(long handle) {
    if (handle == 0) throw new IllegalStateException("expected an open handle, found one that was closed");
    return handle;
  }

  /** What is asked for; its messages make a conversation. */
  public static final class Request implements AutoCloseable {
    private long handle = Native.newRequest();

    /**
     * @param role "system", "user", "assistant" or "tool"
     */
    public Request add(String role, String content) {
      Native.addMessage(open(handle), Native.bytes(role), Native.bytes(content));
      return this;
    }

    /** What an answer said. */
    public Request add(Answer answer) {
      Native.addAnswer(open(handle), open(answer.handle));
      return this;
    }

    /** The same seed gives the same answer everywhere. */
    public Request seed(long seed) {
      Native.setSeed(open(handle), seed);
      return this;
    }

    public Request maxTokens(int tokens) {
      Native.setMaxTokens(open(handle), tokens);
      return this;
    }

    public Request thinking(boolean on) {
      Native.setThinking(open(handle), on ? 2 : 1);
      return this;
    }

    @Override
    public void close() {
      Native.freeRequest(handle);
      handle = 0;
    }
  }

  /**
   * Hears an answer as it comes. Each method returns whether to go on; what it throws ends the answer, and is thrown by
   * {@link Answer#run}.
   */
  public abstract static class Listener {
    public abstract boolean content(String text);

    public boolean reasoning(String text) {
      return true;
    }

    @SuppressWarnings("unused") // by jni.cpp
    private boolean tell(boolean reasoning, byte[] text) {
      String told = new String(text, StandardCharsets.UTF_8);
      return reasoning ? reasoning(told) : content(told);
    }
  }

  /** One that waits, runs or has ended. */
  public static final class Answer implements AutoCloseable {
    private long handle;

    private Answer(long handle) {
      this.handle = handle;
    }

    /** Computes it to its end; false where it was stopped or cancelled. */
    public boolean run(Listener listener) {
      return Native.run(open(handle), listener);
    }

    /** From any thread; of one that was closed nothing is left to cancel. */
    public synchronized void cancel() {
      Native.cancel(handle);
    }

    @Override
    public synchronized void close() {
      Native.freeAnswer(handle);
      handle = 0;
    }
  }
}
