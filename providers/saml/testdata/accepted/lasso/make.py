#!/usr/bin/python3
"""Makes Responses with Lasso (https://lasso.entrouvert.org), the C library behind several identity providers.

Run in this folder with Debian's python3-lasso installed: /usr/bin/python3 make.py
It makes a new key, metadata.xml, one file for each case, and fixture.json.
"""
import base64, datetime, json, os, re, subprocess, tempfile

import lasso

SP, ACS, REQUEST, IDP = "https://sp.example/saml", "https://sp.example/saml/acs", "_request-1", "https://lasso.example/idp"
NOW = datetime.datetime.now(datetime.timezone.utc)


def stamp(seconds):
    return (NOW + datetime.timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")


work = tempfile.mkdtemp()
key, cert = os.path.join(work, "idp.key"), os.path.join(work, "idp.crt")
subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "3650", "-subj", "/CN=lasso.example",
                "-keyout", key, "-out", cert], check=True, capture_output=True)
body = "".join(line for line in open(cert).read().splitlines() if "-----" not in line)
open("metadata.xml", "w").write(f"""<?xml version="1.0"?>
<!-- Lasso has no generator of metadata; this is the form of its own test data. -->
<EntityDescriptor xmlns="urn:oasis:names:tc:SAML:2.0:metadata" xmlns:ds="http://www.w3.org/2000/09/xmldsig#" entityID="{IDP}">
<IDPSSODescriptor WantAuthnRequestsSigned="false" protocolSupportEnumeration="urn:oasis:names:tc:SAML:2.0:protocol">
  <KeyDescriptor use="signing"><ds:KeyInfo><ds:X509Data><ds:X509Certificate>
{body}
  </ds:X509Certificate></ds:X509Data></ds:KeyInfo></KeyDescriptor>
  <SingleSignOnService Binding="urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect" Location="{IDP}/sso"/>
</IDPSSODescriptor>
</EntityDescriptor>
""")

sp_metadata = open("../../sp-metadata.xml").read()
cases = {}


def case(name, sign_response, sign_assertion, encrypt=None, method=lasso.SIGNATURE_METHOD_RSA_SHA256):
    server = lasso.Server.newFromBuffers(open("metadata.xml").read(), open(key).read(), None, open(cert).read())
    server.signatureMethod = method
    server.addProviderFromBuffer(lasso.PROVIDER_ROLE_SP, sp_metadata)
    provider = server.getProvider(SP)
    if encrypt is not None:
        provider.setEncryptionMode(lasso.ENCRYPTION_MODE_ASSERTION)
        provider.setEncryptionSymKeyType(encrypt)
    login = lasso.Login(server)
    login.initIdpInitiatedAuthnRequest(SP)
    login.request.protocolBinding = lasso.SAML2_METADATA_BINDING_POST
    login.request.id = REQUEST
    login.request.nameIdPolicy.format = lasso.SAML2_NAME_IDENTIFIER_FORMAT_PERSISTENT
    login.request.nameIdPolicy.allowCreate = True
    login.processAuthnRequestMsg(None)
    login.validateRequestMsg(True, True)
    hint = lasso.PROFILE_SIGNATURE_HINT_FORCE if sign_response else lasso.PROFILE_SIGNATURE_HINT_FORBID
    login.setSignatureHint(hint)
    login.buildAssertion(lasso.SAML2_AUTHN_CONTEXT_PASSWORD_PROTECTED_TRANSPORT, stamp(0), stamp(28800), stamp(-60), stamp(600))
    a = login.assertion
    a.subject.nameId.content = "lovelace-12"
    a.subject.subjectConfirmation.subjectConfirmationData.inResponseTo = REQUEST
    login.response.inResponseTo = REQUEST
    statement = lasso.Saml2AttributeStatement()
    attributes = []
    for attribute_name, friendly, value in (("urn:oid:0.9.2342.19200300.100.1.3", "mail", "lovelace@acme.example"),
                                            ("urn:oid:2.16.840.1.113730.3.1.241", "displayName", "Augusta Ada King")):
        attribute = lasso.Saml2Attribute()
        attribute.name, attribute.nameFormat, attribute.friendlyName = attribute_name, lasso.SAML2_ATTRIBUTE_NAME_FORMAT_URI, friendly
        text = lasso.MiscTextNode.newWithString(value)
        text.textChild = True
        v = lasso.Saml2AttributeValue()
        v.any = [text]
        attribute.attributeValue = [v]
        attributes.append(attribute)
    statement.attribute = attributes
    a.attributeStatement = [statement]
    if not sign_assertion:
        a.signType = lasso.SIGNATURE_TYPE_NONE
    login.buildAuthnResponseMsg()
    xml = base64.b64decode(login.msgBody)
    open(name + ".xml", "wb").write(xml)
    cases[name] = {}


case("signed-response", True, False)
case("signed-assertion", False, True)
case("signed-both", True, True)
case("signed-both-sha512", True, True, method=lasso.SIGNATURE_METHOD_RSA_SHA512)
case("encrypted-aes128-cbc", True, True, lasso.ENCRYPTION_SYM_KEY_TYPE_AES_128)
case("encrypted-aes256-cbc", False, True, lasso.ENCRYPTION_SYM_KEY_TYPE_AES_256)

json.dump({
    "made_with": "Lasso " + subprocess.run(["dpkg-query", "-W", "-f", "${Version}", "liblasso3"], capture_output=True, text=True).stdout,
    "stored": NOW.strftime("%Y-%m-%dT%H:%M:%SZ"),
    "subject": "lovelace-12", "email": "lovelace@acme.example", "name": "Augusta Ada King",
    "cases": cases,
}, open("fixture.json", "w"), indent=2)
