import java.nio.file.Path;
import java.util.Map;
import org.elasticsearch.common.logging.LogConfigurator;
import org.elasticsearch.common.settings.Settings;
import org.elasticsearch.env.Environment;
import org.elasticsearch.node.InternalSettingsPreparer;
import org.elasticsearch.node.Node;
import org.elasticsearch.plugins.PluginsLoader;

/** Runs one node in this process. Arguments: the config folder, then settings as name=value. */
public class Main {
  public static void main(String[] arguments) throws Exception {
    Settings.Builder settings = Settings.builder();
    for (int i = 1; i < arguments.length; i++) {
      String[] setting = arguments[i].split("=", 2);
      settings.put(setting[0], setting[1]);
    }
    LogConfigurator.configureESLogging();
    Environment environment = InternalSettingsPreparer.prepareEnvironment(
        settings.build(), Map.of(), Path.of(arguments[0]), () -> "node");
    PluginsLoader plugins = PluginsLoader.createPluginsLoader(
        PluginsLoader.loadModulesBundles(environment.modulesDir()),
        PluginsLoader.loadPluginsBundles(environment.pluginsDir()),
        Map.of());
    Node node = new Node(environment, plugins);
    node.start();
    Runtime.getRuntime().addShutdownHook(new Thread(() -> {
      try {
        node.close();
      } catch (Exception failure) {
        failure.printStackTrace();
      }
    }));
    Thread.currentThread().join();
  }
}
