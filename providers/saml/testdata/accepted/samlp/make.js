// Makes Responses with samlp (https://github.com/auth0/node-samlp), Auth0's SAML identity provider for Node.
//
// Run in this folder: npm install --no-save samlp@8.0.0 && node make.js
// It makes a new key, metadata.xml, one file for each case, and fixture.json. `node` finds samlp through NODE_PATH too.
const fs = require('fs'), os = require('os'), path = require('path'), { execFileSync } = require('child_process');
const samlp = require('samlp');

const SP = 'https://sp.example/saml', ACS = 'https://sp.example/saml/acs', REQUEST = '_request-1', IDP = 'urn:samlp.example';
const work = fs.mkdtempSync(path.join(os.tmpdir(), 'samlp-'));
const key = path.join(work, 'idp.key'), cert = path.join(work, 'idp.crt');
execFileSync('openssl', ['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '3650', '-subj', '/CN=samlp.example', '-keyout', key, '-out', cert], { stdio: 'ignore' });
const spCert = fs.readFileSync('../../sp.crt');
const spKey = execFileSync('openssl', ['x509', '-pubkey', '-noout', '-in', '../../sp.crt']);

const user = { id: 'hedy-1914', displayName: 'Hedy Lamarr', name: { givenName: 'Hedy', familyName: 'Lamarr' }, emails: [{ type: 'work', value: 'hedy@acme.example' }] };
const cases = {};

function respond(name, options) {
  return new Promise((done, fail) => samlp.getSamlResponse(Object.assign({
    issuer: IDP, audience: SP, destination: ACS, recipient: ACS, inResponseTo: REQUEST, lifetimeInSeconds: 600,
    key: fs.readFileSync(key), cert: fs.readFileSync(cert), signatureAlgorithm: 'rsa-sha256', digestAlgorithm: 'sha256',
    sessionIndex: '_session-1', nameIdentifierFormat: 'urn:oasis:names:tc:SAML:1.1:nameid-format:unspecified',
  }, options), user, (err, xml) => {
    if (err) return fail(err);
    fs.writeFileSync(name + '.xml', xml);
    cases[name] = options.signatureAlgorithm === 'rsa-sha1' ? { allow_sha1: true } : {};
    done();
  }));
}

function metadata() {
  return new Promise((done) => {
    const res = { set() {}, send(xml) { fs.writeFileSync('metadata.xml', xml); done(); } };
    samlp.metadata({ issuer: IDP, cert: fs.readFileSync(cert), profileMapper: samlp.PassportProfileMapper, redirectEndpointPath: '/sso', postEndpointPath: '/sso' })(
      { headers: { host: 'samlp.example' }, protocol: 'https', originalUrl: '/metadata', get() { return 'samlp.example'; } }, res, (err) => { throw err; });
  });
}

(async () => {
  const encrypt = (algorithm) => ({ encryptionCert: spCert, encryptionPublicKey: spKey, encryptionAlgorithm: algorithm, disallowEncryptionWithInsecureAlgorithm: false, warnOnInsecureEncryptionAlgorithm: false });
  await metadata();
  await respond('signed-response', { signResponse: true, signAssertion: false });
  await respond('signed-assertion', { signResponse: false, signAssertion: true });
  await respond('signed-both', { signResponse: true, signAssertion: true });
  await respond('signed-assertion-sha1', { signAssertion: true, signatureAlgorithm: 'rsa-sha1', digestAlgorithm: 'sha1' });
  await respond('encrypted-aes128-cbc', encrypt('http://www.w3.org/2001/04/xmlenc#aes128-cbc'));
  await respond('encrypted-aes256-cbc', Object.assign(encrypt('http://www.w3.org/2001/04/xmlenc#aes256-cbc'), { signResponse: true }));
  await respond('encrypted-aes128-gcm', encrypt('http://www.w3.org/2009/xmlenc11#aes128-gcm'));
  await respond('encrypted-aes256-gcm', Object.assign(encrypt('http://www.w3.org/2009/xmlenc11#aes256-gcm'), { signResponse: true, signAssertion: false }));
  fs.writeFileSync('fixture.json', JSON.stringify({
    made_with: 'samlp ' + require('samlp/package.json').version, stored: new Date().toISOString().replace(/\.\d+Z/, 'Z'),
    subject: 'hedy-1914', email: 'hedy@acme.example', name: 'Hedy Lamarr',
    mapping: { name: 'attributes["http://schemas.xmlsoap.org/ws/2005/05/identity/claims/name"][0]' }, cases,
  }, null, 2) + '\n');
})();
