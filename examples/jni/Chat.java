import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.Timer;
import java.util.TimerTask;
import org.qwen3edge.Model;
import org.qwen3edge.Qwen3EdgeException;

/**
 * A chat: java Chat MODEL.q3e [SEED [MILLISECONDS]]. Reads questions, one a line, and streams the answers; thoughts go to
 * stderr. An answer that takes longer is cancelled by another thread.
 */
final class Chat {
  private static final PrintStream OUT = new PrintStream(System.out, true, StandardCharsets.UTF_8);
  private static final PrintStream ERR = new PrintStream(System.err, true, StandardCharsets.UTF_8);

  private static final Model.Listener SCREEN =
      new Model.Listener() {
        @Override
        public boolean content(String text) {
          OUT.print(text);
          OUT.flush();
          return true;
        }

        @Override
        public boolean reasoning(String text) {
          ERR.print(text);
          return true;
        }
      };

  private static void answer(Model model, Model.Request request, long milliseconds) {
    try (Model.Answer answer = model.answer(request)) {
      Timer timer = new Timer(true);
      if (milliseconds >= 0) {
        timer.schedule(
            new TimerTask() {
              @Override
              public void run() {
                answer.cancel();
              }
            },
            milliseconds);
      }
      boolean whole = answer.run(SCREEN);
      timer.cancel();
      OUT.println();
      if (!whole) ERR.println("(cancelled)");
      request.add(answer);
    }
  }

  public static void main(String[] arguments) throws IOException {
    if (arguments.length < 1 || arguments.length > 3) {
      ERR.println("usage: java Chat MODEL.q3e [SEED [MILLISECONDS]]");
      System.exit(2);
    }
    try (Model model = new Model(arguments[0]);
        Model.Request request = new Model.Request();
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8))) {
      if (arguments.length > 1) request.seed(Long.parseLong(arguments[1]));
      long milliseconds = arguments.length > 2 ? Long.parseLong(arguments[2]) : -1;
      for (String line = lines.readLine(); line != null; line = lines.readLine()) {
        request.add("user", line);
        answer(model, request, milliseconds);
      }
    } catch (Qwen3EdgeException error) {
      ERR.println("Chat: " + error.getMessage());
      System.exit(1);
    }
  }
}
