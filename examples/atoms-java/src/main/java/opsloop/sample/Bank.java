package opsloop.sample;

import io.temporal.activity.Activity;
import java.util.HashMap;
import java.util.Map;

/**
 * Accounts in memory, and with them what was done under which key. Where the work is kept, the keys belong too, in the
 * same transaction: a key that is lost with the process cannot protect anything.
 */
public final class Bank implements AccountAtoms {
  private static final long BEAT_MS = 200;

  private record Account(int balance, int effects) {}

  private final Map<String, Account> accounts = new HashMap<>();
  private final Map<String, CreditOutput> done = new HashMap<>();
  private final Atom.Fences fences = new Atom.Fences();

  /** Adds to an account: once per key, never for a holder whose lock has passed to somebody else. */
  @Override
  public CreditOutput credit(CreditCall call) {
    var in = call.input();
    if (in.account() == null) throw Atom.refuse("validation", 400, "account is missing");
    if (in.amount() <= 0)
      throw Atom.refuse("atom/java.account.credit/amount", 409, "only what is more than nothing can be credited");
    if (call.context().dryRun()) return new CreditOutput(account(in.account()).balance() + in.amount(), true);
    work(in.seconds());
    synchronized (this) {
      var known = done.get(call.context().key());
      if (known != null) return known;
      fences.pass(in.account(), call.context().fence());
      var before = account(in.account());
      var after = new Account(before.balance() + in.amount(), before.effects() + 1);
      accounts.put(in.account(), after);
      var output = new CreditOutput(after.balance(), false);
      done.put(call.context().key(), output);
      return output;
    }
  }

  @Override
  public ReadOutput read(CreditCall call) {
    var account = account(call.input().account());
    return new ReadOutput(account.balance(), account.effects());
  }

  private synchronized Account account(String name) {
    return accounts.getOrDefault(name, new Account(0, 0));
  }

  /** Takes its time and says how far it is. The heartbeat is also how a cancel comes in: it throws. */
  private static void work(int seconds) {
    var context = Activity.getExecutionContext();
    for (long spent = 0; spent < seconds * 1_000L; spent += BEAT_MS) {
      context.heartbeat(new Atom.Progress((int) (100 * spent / (seconds * 1_000L)), "counting"));
      try {
        Thread.sleep(BEAT_MS);
      } catch (InterruptedException stopped) {
        Thread.currentThread().interrupt();
        throw Activity.wrap(stopped);
      }
    }
  }
}
