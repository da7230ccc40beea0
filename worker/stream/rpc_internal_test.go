package stream

import "testing"

// A worker may publish where its requesters may not, so what it takes for an inbox is all that they can have it write to.
func TestWhatIsAnInbox(t *testing.T) {
	t.Parallel()
	const tenant, other = "2489e9ad-2ee2-8e00-8ec9-32d5f69181c0", "3489e9ad-2ee2-8e00-8ec9-32d5f69181c0"
	const subject = "idpsync.rpc." + tenant + ".v1.users.create"
	for reply, want := range map[string]bool{
		"_INBOX.x":                            true,
		"_INBOX.x.y":                          true,
		"_INBOX." + tenant + ".admin.x":       true,
		"_INBOX." + other + ".admin.x":        false,
		"_INBOX.operator.x":                   false,
		"answers.x":                           true,
		"answer.x":                            false,
		"idpsync.login." + tenant + ".okta":   false,
		"x._INBOX.x":                          false,
		"_inbox.x":                            false,
		"_INBOX.*":                            false,
		"_INBOX.x.>":                          false,
		"_INBOX.x y":                          false,
		"_INBOX.x\r\nPUB y":                   false,
		"_INBOX_worker.x":                     false,
		"_INBOX_worker.x.y":                   false,
		"_INBOX_workers.x":                    true,
		"_INBOX.0000." + other + ".admin.x.y": true,
	} {
		s := &Service{conn: &Conn{inbox: "_INBOX_worker"}, inboxes: []string{"_INBOX", "answers."}}
		if got := s.isInbox(reply, subject); got != want {
			t.Errorf("%q is taken for an inbox: %v, want %v", reply, got, want)
		}
	}
	shared := &Service{conn: &Conn{inbox: "_INBOX"}, inboxes: []string{"_INBOX"}} // the default of everybody is nobody's own
	if !shared.isInbox("_INBOX.x", subject) {
		t.Error("an inbox beside the worker's own, under the default of all clients, is none; want it answered")
	}
}
