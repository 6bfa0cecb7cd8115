package opsloop.sample;

import io.temporal.client.WorkflowClient;
import io.temporal.client.WorkflowClientOptions;
import io.temporal.serviceclient.WorkflowServiceStubs;
import io.temporal.serviceclient.WorkflowServiceStubsOptions;
import io.temporal.worker.WorkerFactory;
import io.temporal.worker.WorkerOptions;
import java.time.Duration;

/** Serves the atoms: TEMPORAL_ADDRESS=127.0.0.1:7400 java -cp … opsloop.sample.Main */
public final class Main {
  public static void main(String[] args) {
    var address = System.getenv().getOrDefault("TEMPORAL_ADDRESS", "127.0.0.1:7400");
    var namespace = System.getenv().getOrDefault("TEMPORAL_NAMESPACE", "default");
    var server = WorkflowServiceStubsOptions.newBuilder().setTarget(address).build();
    var here = WorkflowClientOptions.newBuilder().setNamespace(namespace).build();
    var client = WorkflowClient.newInstance(WorkflowServiceStubs.newServiceStubs(server), here);
    var factory = WorkerFactory.newInstance(client);
    // The default holds heartbeats back for up to 30 s, and with them progress and cancels.
    var options = WorkerOptions.newBuilder()
        .setDefaultHeartbeatThrottleInterval(Duration.ofSeconds(1))
        .setMaxHeartbeatThrottleInterval(Duration.ofSeconds(1))
        .build();
    factory.newWorker("sample-java", options).registerActivitiesImplementations(new Bank());
    factory.start();
  }
}
