package exactsim_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"time"

	"github.com/exactauth/exactauth/internal/exactsim"
)

// send sends a token request as a client does, and returns its status and tokens.
func send(base string, form url.Values) (status int, access, refresh string) {
	form.Set("client_id", exactsim.ClientID)
	form.Set("client_secret", exactsim.ClientSecret)
	resp, err := http.PostForm(base+"/api/oauth2/token", form)
	if err != nil {
		return 0, "", ""
	}
	defer resp.Body.Close()
	var tokens struct {
		Access  string `json:"access_token"`
		Refresh string `json:"refresh_token"`
	}
	_ = json.NewDecoder(resp.Body).Decode(&tokens) // an error has none
	return resp.StatusCode, tokens.Access, tokens.Refresh
}

// A client signs in, refreshes too early, refreshes in time, and then makes the
// mistake that loses a login at Exact: it uses a refresh token twice.
func Example() {
	sim := exactsim.New(exactsim.Config{AutoApprove: true})
	sim.AddCast("https://app.test/callback")
	server := httptest.NewServer(sim)
	defer server.Close()

	// The browser is sent to the sign-in, and from there, for want of pages, to
	// the app with a code.
	browser := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := browser.Get(server.URL + "/api/oauth2/auth?" + url.Values{
		"client_id": {exactsim.ClientID}, "redirect_uri": {"https://app.test/callback"}, "response_type": {"code"}, "state": {"xyz"},
	}.Encode())
	if err != nil {
		fmt.Println(err)
		return
	}
	resp.Body.Close()
	back, _ := resp.Location()
	fmt.Println("signed in:", back.Host, back.Query().Get("state"))

	status, _, refresh := send(server.URL, url.Values{
		"grant_type": {"authorization_code"}, "redirect_uri": {"https://app.test/callback"}, "code": {back.Query().Get("code")},
	})
	fmt.Println("code:", status)

	form := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {refresh}}
	status, _, _ = send(server.URL, form)
	fmt.Println("too early:", status, sim.RefreshTokenState(refresh))

	sim.Advance(10 * time.Minute)
	status, access, _ := send(server.URL, form)
	fmt.Println("in time:", status, sim.AccessTokenLive(access))

	status, _, _ = send(server.URL, form)
	fmt.Println("twice:", status, sim.RefreshTokenState(refresh))
	// Output:
	// signed in: app.test xyz
	// code: 200
	// too early: 400 current
	// in time: 200 true
	// twice: 401 old
}

// A client loses the reply to a refresh. The simulator knows that it was carried
// out: the refresh token that the client has is of no more use.
func ExampleSim_Inject() {
	events := make(chan exactsim.Event, 2)
	sim := exactsim.New(exactsim.Config{Observe: func(_ *http.Request, e exactsim.Event) { events <- e }})
	cast := sim.AddCast("https://app.test/callback")
	server := httptest.NewServer(sim)
	defer server.Close()
	code := sim.NewCode(cast.App.ClientID, cast.Anna.ID, cast.App.RedirectURI)
	_, _, refresh := send(server.URL, url.Values{
		"grant_type": {"authorization_code"}, "redirect_uri": {cast.App.RedirectURI}, "code": {code},
	})

	sim.Advance(10 * time.Minute)
	sim.Inject(exactsim.Fault{Kind: exactsim.Drop, Commit: true})
	status, _, _ := send(server.URL, url.Values{"grant_type": {"refresh_token"}, "refresh_token": {refresh}})
	<-events // of the code
	last := <-events
	fmt.Println(status, sim.RefreshTokenState(refresh))
	fmt.Printf("%s, generation %d, then %s", last.Outcome, last.Generation, last.Fault)
	// Output:
	// 0 old
	// tokens issued, generation 2, then drop
}
