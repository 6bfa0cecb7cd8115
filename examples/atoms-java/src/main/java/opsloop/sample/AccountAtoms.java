package opsloop.sample;

import com.fasterxml.jackson.annotation.JsonIgnoreProperties;
import io.temporal.activity.ActivityInterface;
import io.temporal.activity.ActivityMethod;
import opsloop.sample.Atom.StepContext;

/** The activities as Temporal knows them; their names are those of the manifests. */
@ActivityInterface
public interface AccountAtoms {
  /** `seconds`: how long the work takes, for those who want to watch it, or cancel it. */
  @JsonIgnoreProperties(ignoreUnknown = true)
  record CreditInput(String account, int amount, int seconds) {}

  @JsonIgnoreProperties(ignoreUnknown = true)
  record CreditCall(CreditInput input, StepContext context) {}

  record CreditOutput(int balance, boolean dryRun) {}

  /** `effects`: how often the account was changed. */
  record ReadOutput(int balance, int effects) {}

  @ActivityMethod(name = "java.account.credit")
  CreditOutput credit(CreditCall call);

  @ActivityMethod(name = "java.account.read")
  ReadOutput read(CreditCall call);
}
