package oidc

// Settle waits for the refreshes that run beside the work.
func (p *Provider) Settle() { p.keys.wg.Wait() }
