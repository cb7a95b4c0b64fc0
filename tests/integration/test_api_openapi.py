"""The OpenAPI document against real replies: what it says about a route is what comes out of it."""

import re
import unittest
import uuid

from api_fixture import CONFLICT, PAT, TABLES, Node, have_server

METHODS = ("get", "post", "patch", "delete")
TYPES = {"null": lambda v: v is None, "boolean": lambda v: isinstance(v, bool), "string": lambda v: isinstance(v, str),
         "integer": lambda v: isinstance(v, int) and not isinstance(v, bool), "array": lambda v: isinstance(v, list),
         "number": lambda v: isinstance(v, (int, float)) and not isinstance(v, bool), "object": lambda v: isinstance(v, dict)}
KNOWN = {"type", "properties", "required", "additionalProperties", "items", "enum", "const", "pattern", "anyOf", "$ref", "description",
         "minimum", "maximum", "minLength", "maxLength", "minItems", "maxItems", "default"}


def resolve(doc, node):
    while "$ref" in node:
        path = node["$ref"].removeprefix("#/").split("/")
        node = doc
        for part in path:
            node = node[part]
    return node


def check(doc, schema, value, where="$"):
    """The part of JSON Schema 2020-12 that the document uses. A list of what does not hold."""
    schema = resolve(doc, schema)
    wrong = [f"{where}: unknown keyword {k}" for k in schema if k not in KNOWN]
    if "anyOf" in schema:
        tried = [check(doc, s, value, where) for s in schema["anyOf"]]
        return wrong if any(not t for t in tried) else wrong + min(tried, key=len)
    types = schema.get("type", [])
    types = [types] if isinstance(types, str) else types
    if types and not any(TYPES[t](value) for t in types):
        return wrong + [f"{where}: {value!r} is not {types}"]
    if "enum" in schema and value not in schema["enum"]:
        wrong.append(f"{where}: {value!r} is not one of {schema['enum']}")
    if "const" in schema and value != schema["const"]:
        wrong.append(f"{where}: {value!r} is not {schema['const']!r}")
    if isinstance(value, str) and "pattern" in schema and not re.search(schema["pattern"], value):
        wrong.append(f"{where}: {value!r} does not match {schema['pattern']}")
    if isinstance(value, dict):
        known = schema.get("properties", {})
        wrong += [f"{where}: {k} is missing" for k in schema.get("required", []) if k not in value]
        for k, v in value.items():
            if k in known:
                wrong += check(doc, known[k], v, f"{where}.{k}")
            elif schema.get("additionalProperties", True) is False:
                wrong.append(f"{where}: {k} is not in the document")
    if isinstance(value, list) and "items" in schema:
        for i, v in enumerate(value):
            wrong += check(doc, schema["items"], v, f"{where}[{i}]")
    return wrong


class Document(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        if not have_server():
            raise unittest.SkipTest("api_server is not built")
        cls.node = Node()
        cls.bob = cls.node.login("bob")
        cls.doc = cls.bob.get("/openapi.json").json

    @classmethod
    def tearDownClass(cls):
        cls.bob.close()
        cls.node.close()

    def holds(self, reply, method, path):
        operation = self.doc["paths"][path][method]
        responses = operation["responses"]
        response = resolve(self.doc, responses.get(str(reply.status), responses.get("default")))
        content = response.get("content")
        if content is None:
            self.assertEqual(reply.body, b"", (method, path))
            return
        kind = reply.headers["Content-Type"].split(";")[0]
        self.assertIn(kind, content, (method, path))
        self.assertEqual(check(self.doc, content[kind]["schema"], reply.json), [], (method, path, reply))

    def test_the_document_is_whole(self):
        self.assertEqual(self.doc["openapi"], "3.1.0")
        for path, item in self.doc["paths"].items():
            for method, operation in item.items():
                if method not in METHODS:
                    continue
                self.assertTrue(operation["summary"], path)
                self.assertTrue(operation["responses"], path)
                named = {resolve(self.doc, p)["name"] for p in operation.get("parameters", []) + item.get("parameters", [])}
                self.assertTrue(set(re.findall(r"\{(\w+)\}", path)) <= named, (method, path))

        def refs(node):
            if isinstance(node, dict):
                if "$ref" in node:
                    resolve(self.doc, node)
                for v in node.values():
                    refs(v)
            elif isinstance(node, list):
                for v in node:
                    refs(v)
        refs(self.doc)

    def test_the_checker_can_fail(self):
        row = {"id": "x", "deleted": True, "sync": "pending"}
        self.assertTrue(check(self.doc, {"$ref": "#/components/schemas/deleted"}, row))
        self.assertTrue(check(self.doc, {"$ref": "#/components/schemas/patient"}, {}))

    def test_lists_and_rows_of_every_table_are_as_described(self):
        for name, table in TABLES.items():
            if table["push_only"]:
                self.assertNotIn(f"/api/v1/{name}", self.doc["paths"])
                continue
            page = self.bob.get(f"{name}?limit=5")
            self.assertEqual(page.status, 200, name)
            self.holds(page, "get", f"/api/v1/{name}")
            for row in page.json["items"][:1]:
                for beneath in ("", "/history", "/conflicts"):
                    self.holds(self.bob.get(f"{name}/{row['id']}{beneath}"), "get", f"/api/v1/{name}/{{id}}{beneath}")

    def example(self, name):
        """A body made from the document alone."""
        schema = resolve(self.doc, {"$ref": f"#/components/schemas/{name}_new"})
        body = {}
        for column, s in schema["properties"].items():
            s = s["anyOf"][1] if "anyOf" in s else s
            s = resolve(self.doc, s) if "$ref" in s else s
            if column == "id" or column not in schema["required"] and column in ("site_id",):
                continue
            if "enum" in s:
                body[column] = s["enum"][0]
            elif s.get("pattern", "").startswith("^[0-9a-f]{8}"):
                body[column] = PAT
            elif "FHIR" in s.get("description", ""):
                body[column] = "2026-11-23T08:00:00.500+01:00"
            elif s.get("type") == "boolean":
                body[column] = True
            elif "integer" in s.get("type", []):
                body[column] = 7
            elif "number" in s.get("type", []):
                body[column] = 7.25
            elif s == {}:
                body[column] = {"any": [1, None, "x"]}
            else:
                body[column] = "text"
        return body

    def test_a_row_made_from_the_document_is_taken_by_every_table_that_may_be_written(self):
        made = 0
        for name in TABLES:
            path = f"/api/v1/{name}"
            if "post" not in self.doc["paths"].get(path, {}):
                continue
            reply = self.bob.post(name, self.example(name))
            self.assertEqual(reply.status, 201, (name, reply))
            self.holds(reply, "post", path)
            made += 1
            one = f"{path}/{{id}}"
            if "patch" in self.doc["paths"][one]:
                body = {k: v for k, v in self.example(name).items() if k != "id"}
                changed = self.bob.patch(f"{name}/{reply.json['id']}", body, reply.json["etag"])
                self.assertEqual(changed.status, 200, (name, changed))
                self.holds(changed, "patch", one)
                if "delete" in self.doc["paths"][one]:
                    self.holds(self.bob.delete(f"{name}/{reply.json['id']}", changed.json["etag"]), "delete", one)
        self.assertGreater(made, 10)

    def test_the_other_routes_are_as_described(self):
        self.holds(self.bob.get(f"patients/{PAT}/chart"), "get", "/api/v1/patients/{id}/chart")
        self.holds(self.bob.get("conflicts"), "get", "/api/v1/conflicts")
        self.holds(self.bob.get(f"conflicts/{CONFLICT}"), "get", "/api/v1/conflicts/{id}")
        self.holds(self.bob.get("quarantine"), "get", "/api/v1/quarantine")
        self.holds(self.bob.get("sync"), "get", "/api/v1/sync")
        self.holds(self.bob.get("session"), "get", "/api/v1/session")
        for path in ("users", "devices", "break-glass", "break-glass/reasons", "break-glass/patients?family_name=ade"):
            self.holds(self.bob.get(path), "get", f"/api/v1/{path.split('?')[0]}")
        offer = self.bob.send("POST", "/api/v1/devices/pairing", {"name": "described", "class": "shared"})
        self.holds(offer, "post", "/api/v1/devices/pairing")
        self.holds(self.bob.send("POST", "/api/v1/devices", {"token": offer.json["token"]}), "post", "/api/v1/devices")
        broken = self.bob.post("break-glass", {"patient_id": PAT, "reason": "emergency", "text": "as the document says"})
        self.holds(broken, "post", "/api/v1/break-glass")
        self.holds(self.bob.get("break-glass?state=all"), "get", "/api/v1/break-glass")
        self.holds(self.bob.post("transaction", {"writes": [{"op": "create", "table": "task", "values": {}}]}), "post", "/api/v1/transaction")
        self.holds(self.bob.post(f"conflicts/{CONFLICT}/resolution", {"choice": "live", "seen_rev": 3}), "post",
                   "/api/v1/conflicts/{id}/resolution")

    def test_refusals_are_as_described(self):
        for reply, method, path in (
                (self.bob.get("patient?x=1"), "get", "/api/v1/patient"), (self.bob.get(f"patient/{uuid.uuid4()}"), "get", "/api/v1/patient/{id}"),
                (self.bob.post("patient", {"x": 1}), "post", "/api/v1/patient"),
                (self.bob.patch(f"patient/{PAT}", {"city": "x"}, "\"9.9\""), "patch", "/api/v1/patient/{id}")):
            self.assertGreaterEqual(reply.status, 400)
            self.holds(reply, method, path)


if __name__ == "__main__":
    unittest.main()
