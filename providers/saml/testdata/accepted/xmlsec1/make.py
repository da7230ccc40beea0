#!/usr/bin/python3
"""Makes Responses that xmlsec1 (https://www.aleksey.com/xmlsec/) signs, in the forms that identity providers on other
stacks use: inclusive canonicalization as .NET has it, ECDSA, and a KeyInfo without a certificate or none at all.

Run in this folder with Debian's xmlsec1 and openssl installed: /usr/bin/python3 make.py
It makes new keys, metadata.xml, one file for each case, and fixture.json.
"""
import datetime, json, os, subprocess, tempfile

SP, ACS, REQUEST, IDP = "https://sp.example/saml", "https://sp.example/saml/acs", "_request-1", "https://xmlsec1.example/idp"
NOW = datetime.datetime.now(datetime.timezone.utc)
work = tempfile.mkdtemp()


def stamp(seconds):
    return (NOW + datetime.timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")


def pair(name, *algorithm):
    key, cert = os.path.join(work, name + ".key"), os.path.join(work, name + ".crt")
    subprocess.run(["openssl", "req", "-x509", *algorithm, "-nodes", "-days", "3650", "-subj", "/CN=xmlsec1.example",
                    "-keyout", key, "-out", cert], check=True, capture_output=True)
    return key, cert, "".join(line for line in open(cert).read().splitlines() if "-----" not in line)


rsa = pair("rsa", "-newkey", "rsa:2048")
ec = pair("ec", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256")
keys = "".join(f'<KeyDescriptor use="signing"><ds:KeyInfo><ds:X509Data><ds:X509Certificate>{body}</ds:X509Certificate></ds:X509Data></ds:KeyInfo></KeyDescriptor>\n'
               for _, _, body in (rsa, ec))
open("metadata.xml", "w").write(f"""<EntityDescriptor xmlns="urn:oasis:names:tc:SAML:2.0:metadata" xmlns:ds="http://www.w3.org/2000/09/xmldsig#" entityID="{IDP}">
<IDPSSODescriptor protocolSupportEnumeration="urn:oasis:names:tc:SAML:2.0:protocol">
{keys}<SingleSignOnService Binding="urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect" Location="{IDP}/sso"/>
</IDPSSODescriptor>
</EntityDescriptor>
""")

EXCLUSIVE, INCLUSIVE, C14N11 = "http://www.w3.org/2001/10/xml-exc-c14n#", "http://www.w3.org/TR/2001/REC-xml-c14n-20010315", "http://www.w3.org/2006/12/xml-c14n11"
RSA256, EC256 = "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256", "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha256"
CERTIFICATE, KEYVALUE = "<ds:KeyInfo><ds:X509Data/></ds:KeyInfo>", "<ds:KeyInfo><ds:KeyValue/></ds:KeyInfo>"
cases = {}


def signature(target, c14n, method, keyinfo, prefixes):
    inclusive = f'<ec:InclusiveNamespaces xmlns:ec="{EXCLUSIVE}" PrefixList="{prefixes}"/>' if prefixes else ""
    return f"""<ds:Signature xmlns:ds="http://www.w3.org/2000/09/xmldsig#">
  <ds:SignedInfo>
    <ds:CanonicalizationMethod Algorithm="{c14n}"/>
    <ds:SignatureMethod Algorithm="{method}"/>
    <ds:Reference URI="#{target}">
      <ds:Transforms>
        <ds:Transform Algorithm="http://www.w3.org/2000/09/xmldsig#enveloped-signature"/>
        <ds:Transform Algorithm="{c14n}">{inclusive}</ds:Transform>
      </ds:Transforms>
      <ds:DigestMethod Algorithm="http://www.w3.org/2001/04/xmlenc#sha256"/>
      <ds:DigestValue/>
    </ds:Reference>
  </ds:SignedInfo>
  <ds:SignatureValue/>
  {keyinfo}
</ds:Signature>"""


def case(name, target, c14n=EXCLUSIVE, method=RSA256, keyinfo=CERTIFICATE, prefixes="", pair=rsa):
    response_signature = signature("_response", c14n, method, keyinfo, prefixes) if target == "Response" else ""
    assertion_signature = signature("_assertion", c14n, method, keyinfo, prefixes) if target == "Assertion" else ""
    xml = f"""<?xml version="1.0" encoding="UTF-8"?>
<samlp:Response xmlns:samlp="urn:oasis:names:tc:SAML:2.0:protocol" xmlns:xs="http://www.w3.org/2001/XMLSchema" ID="_response"
    Version="2.0" IssueInstant="{stamp(0)}" Destination="{ACS}" InResponseTo="{REQUEST}">
  <saml:Issuer xmlns:saml="urn:oasis:names:tc:SAML:2.0:assertion">{IDP}</saml:Issuer>{response_signature}
  <samlp:Status><samlp:StatusCode Value="urn:oasis:names:tc:SAML:2.0:status:Success"/></samlp:Status>
  <Assertion xmlns="urn:oasis:names:tc:SAML:2.0:assertion" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" Version='2.0'
      ID="_assertion" IssueInstant="{stamp(0)}">
    <Issuer>{IDP}</Issuer>{assertion_signature}
    <Subject>
      <NameID Format="urn:oasis:names:tc:SAML:2.0:nameid-format:persistent">karen&#x2d;1935</NameID>
      <SubjectConfirmation Method="urn:oasis:names:tc:SAML:2.0:cm:bearer">
        <SubjectConfirmationData InResponseTo="{REQUEST}" NotOnOrAfter="{stamp(600)}" Recipient="{ACS}"/>
      </SubjectConfirmation>
    </Subject>
    <Conditions NotBefore="{stamp(-60)}" NotOnOrAfter="{stamp(600)}"><AudienceRestriction><Audience>{SP}</Audience></AudienceRestriction></Conditions>
    <AuthnStatement AuthnInstant="{stamp(0)}"><AuthnContext><AuthnContextClassRef>urn:oasis:names:tc:SAML:2.0:ac:classes:Password</AuthnContextClassRef></AuthnContext></AuthnStatement>
    <AttributeStatement>
      <Attribute Name="email"><AttributeValue xsi:type="xs:string">karen@acme.example</AttributeValue></Attribute>
      <Attribute Name="displayName"><AttributeValue xsi:type="xs:string">Karen &lt;Spärck&gt; Jones</AttributeValue></Attribute>
    </AttributeStatement>
  </Assertion>
</samlp:Response>
"""
    template = os.path.join(work, name + ".xml")
    open(template, "w").write(xml)
    subprocess.run(["xmlsec1", "--sign", "--privkey-pem", pair[0] + "," + pair[1],
                    "--id-attr:ID", "urn:oasis:names:tc:SAML:2.0:protocol:Response", "--id-attr:ID", "urn:oasis:names:tc:SAML:2.0:assertion:Assertion",
                    "--output", name + ".xml", template], check=True, capture_output=True)
    cases[name] = {}


for part in ("Response", "Assertion"):
    case(f"{part.lower()}-exclusive", part)
    case(f"{part.lower()}-exclusive-prefixes", part, prefixes="xs")
    case(f"{part.lower()}-inclusive", part, c14n=INCLUSIVE)
    case(f"{part.lower()}-c14n11", part, c14n=C14N11)
    case(f"{part.lower()}-ecdsa", part, method=EC256, pair=ec)
    case(f"{part.lower()}-key-value", part, keyinfo=KEYVALUE)
    case(f"{part.lower()}-no-key-info", part, keyinfo="")
    case(f"{part.lower()}-ecdsa-no-key-info", part, method=EC256, keyinfo="", pair=ec)

json.dump({
    "made_with": subprocess.run(["xmlsec1", "--version"], capture_output=True, text=True).stdout.strip(),
    "stored": NOW.strftime("%Y-%m-%dT%H:%M:%SZ"),
    "subject": "karen-1935", "email": "karen@acme.example", "name": "Karen <Spärck> Jones",
    "cases": cases,
}, open("fixture.json", "w"), indent=2, ensure_ascii=False)
