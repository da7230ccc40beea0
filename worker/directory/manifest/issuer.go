package manifest

import (
	"net/url"
	"slices"
	"strings"
)

// publicIssuers lists, without their scheme, the issuers of which anyone can get a token for any client: people who open
// an account there, or jobs of any project, which choose their own audience. deploy/RUNBOOK.md has the same list.
func publicIssuers() []string {
	return []string{
		"accounts.google.com", "appleid.apple.com", "www.facebook.com", "limited.facebook.com", "www.linkedin.com/oauth", "slack.com",
		"api.login.yahoo.com", "id.twitch.tv/oauth2", "login.live.com",
		"token.actions.githubusercontent.com", "gitlab.com", "app.terraform.io", "agent.buildkite.com",
	}
}

// microsoftHosts are those whose issuers name a directory in the first part of their path.
func microsoftHosts() []string {
	return []string{"login.microsoftonline.com", "login.microsoftonline.us", "login.partner.microsoftonline.cn", "login.microsoft.com", "login.windows.net", "sts.windows.net"}
}

// microsoftAccounts is the directory of personal Microsoft accounts.
const microsoftAccounts = "9188040d-6c67-4c5b-b112-36a304b66dad"

// publicIssuer reports whether anyone can get a token of the issuer.
func publicIssuer(issuer string) bool {
	_, name, _ := strings.Cut(strings.TrimRight(strings.ToLower(issuer), "/"), "://")
	return slices.Contains(publicIssuers(), name) || issuerTemplate(issuer) || microsoftDirectory(issuer) == microsoftAccounts
}

// issuerTemplate reports whether the issuer stands for those of many directories.
func issuerTemplate(issuer string) bool {
	switch microsoftDirectory(issuer) {
	case "common", "organizations", "consumers":
		return true
	}
	return strings.ContainsAny(issuer, "{}") || strings.Contains(strings.ToLower(issuer), "%7b")
}

// microsoftDirectory returns the directory that an issuer of Microsoft names, in lower case; "" for other issuers.
func microsoftDirectory(issuer string) string {
	u, err := url.Parse(issuer)
	if err != nil || !slices.Contains(microsoftHosts(), strings.ToLower(u.Hostname())) {
		return ""
	}
	first, _, _ := strings.Cut(strings.TrimPrefix(u.Path, "/"), "/")
	return strings.ToLower(first)
}
