package exactsim_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"

	"github.com/exactauth/exactauth/internal/exactsim"
)

// A client loses the reply to a refresh. By the rules of a strict server its
// refresh token is then of no more use.
func Example() {
	sim := exactsim.New(exactsim.Config{})
	sim.AddApp(exactsim.App{ClientID: "app", ClientSecret: "secret", RedirectURI: "https://app.test/callback"})
	sim.AddUser(exactsim.User{ID: "jan", Email: "jan@example.test"})
	server := httptest.NewServer(sim)
	defer server.Close()

	sim.Inject(exactsim.Fault{On: exactsim.TokenEndpoint, Kind: exactsim.Drop, Commit: true})
	_, err := http.PostForm(server.URL+"/api/oauth2/token", url.Values{
		"grant_type":    {"authorization_code"},
		"code":          {sim.NewCode("app", "jan", "https://app.test/callback")},
		"redirect_uri":  {"https://app.test/callback"},
		"client_id":     {"app"},
		"client_secret": {"secret"},
	})
	grant, issued := sim.Grant("app", "jan")
	fmt.Println(err != nil, issued, grant.Generation)
	// Output: true true 1
}
