import java.util.Collection;
import java.util.List;
import java.util.Map;
import java.util.function.Predicate;
import java.util.function.Supplier;
import java.util.regex.Pattern;
import org.apache.lucene.analysis.LowerCaseFilter;
import org.apache.lucene.analysis.TokenStream;
import org.apache.lucene.analysis.Tokenizer;
import org.apache.lucene.analysis.email.UAX29URLEmailTokenizer;
import org.apache.lucene.analysis.miscellaneous.RemoveDuplicatesTokenFilter;
import org.apache.lucene.analysis.pattern.PatternCaptureGroupTokenFilter;
import org.elasticsearch.Build;
import org.elasticsearch.action.admin.cluster.state.ClusterStateRequest;
import org.elasticsearch.action.admin.cluster.state.ClusterStateResponse;
import org.elasticsearch.client.internal.node.NodeClient;
import org.elasticsearch.cluster.metadata.IndexNameExpressionResolver;
import org.elasticsearch.cluster.node.DiscoveryNodes;
import org.elasticsearch.common.io.stream.NamedWriteableRegistry;
import org.elasticsearch.common.settings.ClusterSettings;
import org.elasticsearch.common.settings.IndexScopedSettings;
import org.elasticsearch.common.settings.Settings;
import org.elasticsearch.common.settings.SettingsFilter;
import org.elasticsearch.core.TimeValue;
import org.elasticsearch.features.NodeFeature;
import org.elasticsearch.index.analysis.AbstractTokenFilterFactory;
import org.elasticsearch.index.analysis.AbstractTokenizerFactory;
import org.elasticsearch.index.analysis.TokenFilterFactory;
import org.elasticsearch.index.analysis.TokenizerFactory;
import org.elasticsearch.indices.analysis.AnalysisModule.AnalysisProvider;
import org.elasticsearch.plugins.ActionPlugin;
import org.elasticsearch.plugins.AnalysisPlugin;
import org.elasticsearch.plugins.Plugin;
import org.elasticsearch.rest.BaseRestHandler;
import org.elasticsearch.rest.RestController;
import org.elasticsearch.rest.RestHandler;
import org.elasticsearch.rest.RestRequest;
import org.elasticsearch.rest.RestResponse;
import org.elasticsearch.rest.RestStatus;
import org.elasticsearch.rest.action.RestActionListener;
import org.elasticsearch.xcontent.XContentBuilder;

/**
 * What the distribution has in modules that Maven has not: GET /, which clients ask first, and the
 * analyzers that the mapping of the index with API keys names.
 */
public class RootPlugin extends Plugin implements ActionPlugin, AnalysisPlugin {
  @Override
  public Collection<RestHandler> getRestHandlers(
      Settings settings, NamedWriteableRegistry writeables, RestController controller,
      ClusterSettings clusterSettings, IndexScopedSettings indexSettings, SettingsFilter filter,
      IndexNameExpressionResolver resolver, Supplier<DiscoveryNodes> nodes,
      Predicate<NodeFeature> features) {
    return List.of(new Root(settings.get("node.name")));
  }

  @Override
  public Map<String, AnalysisProvider<TokenFilterFactory>> getTokenFilters() {
    return Map.of(
        "lowercase", (index, environment, name, settings) ->
            new AbstractTokenFilterFactory(name, settings) {
              public TokenStream create(TokenStream tokens) {
                return new LowerCaseFilter(tokens);
              }
            },
        "unique", (index, environment, name, settings) ->
            new AbstractTokenFilterFactory(name, settings) {
              public TokenStream create(TokenStream tokens) {
                return new RemoveDuplicatesTokenFilter(tokens);
              }
            },
        "pattern_capture", AnalysisPlugin.requiresAnalysisSettings(
            (index, environment, name, settings) ->
                new AbstractTokenFilterFactory(name, settings) {
                  public TokenStream create(TokenStream tokens) {
                    Pattern[] patterns = settings.getAsList("patterns").stream()
                        .map(Pattern::compile).toArray(Pattern[]::new);
                    return new PatternCaptureGroupTokenFilter(
                        tokens, settings.getAsBoolean("preserve_original", true), patterns);
                  }
                }));
  }

  @Override
  public Map<String, AnalysisProvider<TokenizerFactory>> getTokenizers() {
    return Map.of("uax_url_email", (index, environment, name, settings) ->
        new AbstractTokenizerFactory(index, settings, name) {
          public Tokenizer create() {
            return new UAX29URLEmailTokenizer();
          }
        });
  }

  private static final class Root extends BaseRestHandler {
    private final String node;

    Root(String node) {
      this.node = node;
    }

    @Override
    public String getName() {
      return "root";
    }

    @Override
    public List<Route> routes() {
      return List.of(
          new Route(RestRequest.Method.GET, "/"), new Route(RestRequest.Method.HEAD, "/"));
    }

    @Override
    protected RestChannelConsumer prepareRequest(RestRequest request, NodeClient client) {
      Build build = Build.current();
      return channel -> client.admin().cluster().state(
          new ClusterStateRequest(TimeValue.timeValueSeconds(30)).clear().metadata(true).local(true),
          new RestActionListener<ClusterStateResponse>(channel) {
            @Override
            protected void processResponse(ClusterStateResponse answer) throws Exception {
              XContentBuilder json = channel.newBuilder();
              json.startObject();
              json.field("name", node);
              json.field("cluster_name", answer.getClusterName().value());
              json.field("cluster_uuid", answer.getState().metadata().clusterUUID());
              json.startObject("version");
              json.field("number", build.qualifiedVersion());
              json.field("build_flavor", build.flavor());
              json.field("minimum_wire_compatibility_version", build.minWireCompatVersion());
              json.field("minimum_index_compatibility_version", build.minIndexCompatVersion());
              json.endObject();
              json.field("tagline", "You Know, for Search");
              json.endObject();
              channel.sendResponse(new RestResponse(RestStatus.OK, json));
            }
          });
    }
  }
}
