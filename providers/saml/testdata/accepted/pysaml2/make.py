#!/usr/bin/python3
"""Makes Responses with pysaml2 (https://github.com/IdentityPython/pysaml2), which signs and encrypts with xmlsec1.

Run in this folder with Debian's python3-pysaml2 and xmlsec1 installed: /usr/bin/python3 make.py
It makes a new key, metadata.xml, one file for each case, and fixture.json.
"""
import base64, datetime, json, os, subprocess, tempfile

from saml2 import saml, BINDING_HTTP_REDIRECT
from saml2.config import IdPConfig
from saml2.metadata import entity_descriptor
from saml2.server import Server
from saml2.sigver import pre_encryption_part, pre_encrypt_assertion, CryptoBackendXmlSec1
from saml2.xmlenc import EncryptedData
import saml2, saml2.samlp

SP, ACS, REQUEST, IDP = "https://sp.example/saml", "https://sp.example/saml/acs", "_request-1", "https://pysaml2.example/idp"
SHA256 = "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256"
SHA512 = "http://www.w3.org/2001/04/xmldsig-more#rsa-sha512"
D256, D512 = "http://www.w3.org/2001/04/xmlenc#sha256", "http://www.w3.org/2001/04/xmlenc#sha512"

work = tempfile.mkdtemp()
key, cert = os.path.join(work, "idp.key"), os.path.join(work, "idp.crt")
subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "3650", "-subj", "/CN=pysaml2.example",
                "-keyout", key, "-out", cert], check=True, capture_output=True)

server = Server(config=IdPConfig().load({
    "entityid": IDP,
    "service": {"idp": {
        "endpoints": {"single_sign_on_service": [(IDP + "/sso", BINDING_HTTP_REDIRECT)]},
        "policy": {"default": {"lifetime": {"minutes": 15}, "attribute_restrictions": None,
                               "name_form": "urn:oasis:names:tc:SAML:2.0:attrname-format:uri"}},
    }},
    "key_file": key, "cert_file": cert, "xmlsec_binary": "/usr/bin/xmlsec1",
    "metadata": {"local": ["../../sp-metadata.xml"]},
}))
open("metadata.xml", "w").write(str(entity_descriptor(server.config)))

identity = {"mail": ["grace@acme.example"], "displayName": ["Grace Hopper"], "givenName": ["Grace"], "sn": ["Hopper"],
            "eduPersonAffiliation": ["staff", "member"]}


def respond(**options):
    name_id = saml.NameID(format=saml.NAMEID_FORMAT_PERSISTENT, name_qualifier=IDP, sp_name_qualifier=SP, text="grace-1906")
    return server.create_authn_response(identity, REQUEST, ACS, SP, name_id=name_id, userid="grace",
                                        authn={"class_ref": saml.AUTHN_PASSWORD_PROTECTED, "authn_auth": IDP}, **options)


def encrypt(response, algorithm, session_key):
    """Encrypts the assertion of a Response with xmlsec1, as pysaml2 does it, but with the algorithm given."""
    template = pre_encryption_part(msg_enc=algorithm)
    return server.sec.encrypt_assertion(response, "../../sp.crt", template, session_key,
                                        node_xpath=''.join(f"/*[local-name()='{n}']" for n in ["Response", "EncryptedAssertion", "Assertion"]))


cases = {}


def case(name, response):
    text = str(response)
    open(name + ".xml", "w").write(text)
    cases[name] = {}


case("signed-response", respond(sign_response=True, sign_assertion=False, sign_alg=SHA256, digest_alg=D256))
case("signed-assertion", respond(sign_response=False, sign_assertion=True, sign_alg=SHA256, digest_alg=D256))
case("signed-both", respond(sign_response=True, sign_assertion=True, sign_alg=SHA256, digest_alg=D256))
case("signed-both-sha512", respond(sign_response=True, sign_assertion=True, sign_alg=SHA512, digest_alg=D512))
for size in (128, 256):
    for mode, ns in (("cbc", "2001/04/xmlenc"), ("gcm", "2009/xmlenc11")):
        signed = respond(sign_response=False, sign_assertion=True, sign_alg=SHA256, digest_alg=D256)
        signed = saml2.samlp.response_from_string(str(signed))
        case(f"encrypted-aes{size}-{mode}", encrypt(signed, f"http://www.w3.org/{ns}#aes{size}-{mode}", f"aes-{size}"))

json.dump({
    "made_with": "pysaml2 " + subprocess.run(["dpkg-query", "-W", "-f", "${Version}", "python3-pysaml2"], capture_output=True, text=True).stdout
                 + ", " + subprocess.run(["xmlsec1", "--version"], capture_output=True, text=True).stdout.strip(),
    "stored": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
    "subject": "grace-1906", "email": "grace@acme.example", "name": "Grace Hopper",
    "cases": cases,
}, open("fixture.json", "w"), indent=2)
