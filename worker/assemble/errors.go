package assemble

import "fmt"

// A Step is where assembling stopped, for whoever knows what an operator can do about it.
type Step string

// The steps. Errors of other steps have no class: what they wrap says what there is to say.
const (
	StepDataDir      Step = "make the data directory"
	StepOpenStore    Step = "open the database"
	StepMigrate      Step = "migrate the embedded database"
	StepUpgrade      Step = "bring old rows up to date"
	StepReadSchema   Step = "read the schema's version"
	StepOldSchema    Step = "find the schema that this program needs"
	StepConnect      Step = "connect to the broker"
	StepStreams      Step = "compare the broker's streams"
	StepReadSealKey  Step = "read the seal key"
	StepMakeSealKey  Step = "make the seal key"
	StepShareSealKey Step = "hold the seal key of the deployment"
)

// An Error says at which step assembling stopped. Its text is for people and does not repeat the step.
type Error struct {
	Step Step
	Err  error
}

func (e *Error) Error() string { return e.Err.Error() }
func (e *Error) Unwrap() error { return e.Err }

func stop(at Step, format string, args ...any) error {
	return &Error{Step: at, Err: fmt.Errorf(format, args...)}
}
