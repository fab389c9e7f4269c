package org.qwen3edge;

import java.nio.charset.StandardCharsets;

/** The C library, by jni.cpp. Texts are UTF-8 with a zero behind them; handles are addresses, 0: none. */
final class Native {
  private Native() {}

  static {
    System.loadLibrary("qwen3edge_jni");
  }

  static native long load(byte[] path, int context, long memory);

  static native void freeModel(long model);

  static native long newRequest();

  static native void freeRequest(long request);

  static native void addMessage(long request, byte[] role, byte[] content);

  static native void addAnswer(long request, long answer);

  static native void setSeed(long request, long seed);

  static native void setMaxTokens(long request, int tokens);

  static native void setThinking(long request, int thinking);

  static native long newAnswer(long model, long request);

  static native void freeAnswer(long answer);

  /** False: it was stopped or cancelled. */
  static native boolean run(long answer, Model.Listener listener);

  static native void cancel(long answer);

  static byte[] bytes(String text) {
    return (text + '\0').getBytes(StandardCharsets.UTF_8);
  }
}
