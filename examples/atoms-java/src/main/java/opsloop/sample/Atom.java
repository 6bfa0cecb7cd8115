package opsloop.sample;

import com.fasterxml.jackson.annotation.JsonIgnoreProperties;
import io.temporal.failure.ApplicationFailure;
import java.math.BigInteger;
import java.util.HashMap;
import java.util.Map;

/** What opsloop asks of a worker: the shape of a call, the contract of errors, and the fence. */
public final class Atom {
  private Atom() {}

  /** On whose behalf an atom acts. `key` is the same for every delivery of one step; `fence` is null without a lock. */
  @JsonIgnoreProperties(ignoreUnknown = true)
  public record StepContext(String run, String step, String key, String fence, String tenant, boolean dryRun) {}

  /** What a heartbeat tells the people who watch the run. */
  public record Progress(int percent, String message) {}

  /** Details of a failure: RFC 9457. */
  public record Problem(String type, String title, int status, String code, String detail, boolean retryable) {}

  /**
   * A failure that a repeat cannot mend. The code is what a flow's catch names: a short name of the flow language, or
   * atom/&lt;atom name&gt;/&lt;code&gt;. Every other exception is retried as the step says.
   */
  public static ApplicationFailure refuse(String code, int status, String detail) {
    var type = "https://opsloop.dev/errors/" + code;
    var problem = new Problem(type, "The action was refused", status, code, detail, false);
    return ApplicationFailure.newNonRetryableFailure(detail, code, problem);
  }

  /** Remembers the highest fence per resource. */
  public static final class Fences {
    private final Map<String, BigInteger> seen = new HashMap<>();

    /** Lets the holder of the newest lock through, and nobody who lost it. */
    public void pass(String resource, String fence) {
      if (fence == null) return;
      var mine = new BigInteger(fence);
      var newest = seen.getOrDefault(resource, mine);
      if (mine.compareTo(newest) < 0)
        throw refuse("stale-fence", 409, "fence " + fence + " of " + resource + " is older than " + newest);
      seen.put(resource, mine);
    }
  }
}
