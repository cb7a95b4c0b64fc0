"""packaging/synthetic_hospital.py - the hospital behind packaging/synthetic-hospital.

Every patient has a generator of random numbers of his own, made from (seed, number), and is written as soon as made: memory
does not grow with the number. Ids are uuids (version 7, of the time of what they name;
a due dose's is derived from order, time and number, as nodes do it).

A bed has one patient at a time: patient i lies in place i mod places, the later ones in the days before the earlier ones.
"""
import datetime
import hashlib
import json
import os
import random
import uuid

UNTIL = "2026-06-01T08:00:00+02:00"
ROOMS, BEDS_IN_ROOM = 8, 3  # a ward gets more rooms where YEARS would not be enough for all its patients
YEARS = 5
HORIZON_H = 24  # doses are due up to so many hours after the present

WARDS = ["Alder", "Birch", "Cedar", "Dogwood", "Elm", "Fir", "Ginkgo", "Hazel", "Ilex", "Juniper", "Kapok", "Larch", "Maple"]
FAMILIES = ["O'Brien", "Müller", "García", "Nowak", "Šimková", "Þórsdóttir", "Nguyễn", "van der Berg", "Ødegård", "D'Angelo", "Okafor",
            "Smith", "Kowalczyk", "Lefèvre", "Żurawska", "Ångström", "İnci", "Papadopoulos", "Mc Carthy", "Haddad", "王", "佐藤", "김",
            "Иванова", "Ferreira-Souza", "Kaya", "Jensen", "Brown", "Horváth", "Popescu", "Singh", "Abebe"]
GIVEN = {"female": ["Ana", "Zoë", "Siobhán", "María José", "Inès", "Żaneta", "Nadia", "Björk", "Amélie", "Chloë", "Fatima", "Ngozi", "花子", "Ольга"],
         "male": ["Jürgen", "José", "Seán", "Łukasz", "Søren", "Renée-Luc", "Ahmed", "Đorđe", "Paul", "Tomáš", "Kwame", "太郎", "Олег", "Iain"],
         "other": ["Robin", "Noa", "Sasha", "Kim"], "unknown": ["Alex", "Jo"]}
STREETS = ["Main Street", "Rue de l'Église", "Königsallee", "Calle Mayor", "Bäckerstraße", "Nørregade", "O'Connell Street"]
CITIES = [("Galway", "IE", "H91"), ("Köln", "DE", "50667"), ("Málaga", "ES", "29001"), ("Århus", "DK", "8000"), ("Łódź", "PL", "90-001")]
LANGUAGES = ["en", "de", "es", "da", "pl", "ar", "vi", "zh"]
# code (ATC), name, dose, unit, UCUM, route (SNOMED CT), times a day (0: as needed), high alert
MEDICINES = [
    ("N02BE01", "Paracetamol", "1000", "mg", "mg", ("26643006", "Oral route"), 4, False),
    ("J01CA04", "Amoxicillin", "500", "mg", "mg", ("26643006", "Oral route"), 3, False),
    ("B01AB05", "Enoxaparin", "40", "mg", "mg", ("34206005", "Subcutaneous route"), 1, True),
    ("C03CA01", "Furosemide", "20.0", "mg", "mg", ("47625008", "Intravenous route"), 2, False),
    ("C07AB02", "Metoprolol", "47.5", "mg", "mg", ("26643006", "Oral route"), 1, False),
    ("A10AB05", "Insulin aspart", "6", "IU", "[iU]", ("34206005", "Subcutaneous route"), 3, True),
    ("N02AA01", "Morphine", "2.50", "mg", "mg", ("47625008", "Intravenous route"), 0, True),
    ("A02BC02", "Pantoprazole", "40", "mg", "mg", ("26643006", "Oral route"), 1, False),
    ("R03AC02", "Salbutamol", "2.50", "mg", "mg", ("447694001", "Respiratory tract route"), 4, False),
    ("C01AA05", "Digoxin", "0.125", "mg", "mg", ("26643006", "Oral route"), 1, True),
    ("H03AA01", "Levothyroxine sodium", "0.0750", "mg", "mg", ("26643006", "Oral route"), 1, False),
    ("A12BA01", "Potassium chloride", "1.20", "g", "g", ("26643006", "Oral route"), 2, True)]
ALLERGIES = [("91936005", "Allergy to penicillin", "medication", "high", "Urticaria"), ("91935009", "Allergy to peanut", "food", "high", "Anaphylaxis"),
             ("300916003", "Latex allergy", "environment", "low", "Contact dermatitis"), ("293586001", "Allergy to aspirin", "medication", "low", "Wheeze")]
CONDITIONS = [("38341003", "Hypertensive disorder"), ("44054006", "Type 2 diabetes mellitus"), ("233604007", "Pneumonia"), ("84114007", "Heart failure"),
              ("13645005", "Chronic obstructive pulmonary disease"), ("74400008", "Appendicitis"), ("5913000", "Fracture of neck of femur")]
TASKS = ["Reposition the patient", "Change the wound dressing", "Check the peripheral line", "Weigh the patient", "Mouth care", "Fluid balance"]
SNOMED, LOINC, UCUM, ATC = "http://snomed.info/sct", "http://loinc.org", "http://unitsofmeasure.org", "http://www.whocc.no/atc"
HL7 = "http://terminology.hl7.org/CodeSystem/"
MRN = "https://hospital.example/mrn"
ROLES = {"nurse": HL7 + "practitioner-role", "doctor": HL7 + "practitioner-role", "pharmacist": HL7 + "practitioner-role",
         "charge_nurse": "urn:everward:role", "registrar": "urn:everward:role"}
TYPES = ["Organization", "Location", "Practitioner", "PractitionerRole", "Patient", "Encounter", "AllergyIntolerance", "Condition",
         "MedicationRequest", "Task", "MedicationAdministration", "Observation", "Appointment", "ServiceRequest", "Specimen", "DiagnosticReport"]


def parse_time(text):
    t = datetime.datetime.fromisoformat(text)
    if t.tzinfo is None:
        raise ValueError("give an offset, as in 2026-06-01T08:00:00+02:00")
    return t.replace(microsecond=0)


def check_digit(digits):
    """Luhn."""
    total = 0
    for i, c in enumerate(reversed(digits)):
        n = int(c) * (2 if i % 2 == 0 else 1)
        total += n - 9 if n > 9 else n
    return str(-total % 10)


def derived(space, name):
    """A uuid under another, as seal_uuid_derived makes it: version 8 of SHA-256."""
    h = bytearray(hashlib.sha256(uuid.UUID(space).bytes + name.encode()).digest()[:16])
    h[6] = h[6] & 0x0F | 0x80
    h[8] = h[8] & 0x3F | 0x80
    return str(uuid.UUID(bytes=bytes(h)))


def stable(seed, what, number=0):
    h = hashlib.sha256(f"{seed}/{what}/{number}".encode()).digest()
    return random.Random(int.from_bytes(h[:16], "big"))


def new_id(rng, ms):
    x = rng.getrandbits(74)
    t = f"{ms:012x}"
    return f"{t[:8]}-{t[8:]}-7{x >> 62:03x}-{0x8000 | x >> 48 & 0x3FFF:04x}-{x & 0xFFFFFFFFFFFF:012x}"


def dump(resource):
    return json.dumps(resource, ensure_ascii=False, separators=(",", ":")) + "\n"


def coded(system, code, display):
    return {"coding": [{"system": system, "code": code, "display": display}], "text": display}


class Files:
    """One file per type, under another name until all are complete."""

    def __init__(self, folder):
        os.makedirs(folder, exist_ok=True)
        self.folder = folder
        self.counts = dict.fromkeys(TYPES, 0)
        self.files = {t: open(self._name(t) + ".part", "w", encoding="utf-8", newline="\n", buffering=1 << 18) for t in TYPES}

    def _name(self, t):
        return os.path.join(self.folder, t + ".ndjson")

    def write(self, t, lines):
        self.files[t].write("".join(lines))
        self.counts[t] += len(lines)

    def close(self, complete):
        for t, f in self.files.items():
            f.close()
            if complete:
                os.replace(self._name(t) + ".part", self._name(t))
            else:
                os.unlink(self._name(t) + ".part")


class Times:
    """Moments as text, in the hospital's offset; the parts that repeat are made once."""

    def __init__(self, until):
        self.zone = until.tzinfo
        self.offset = until.isoformat()[19:]
        self.days = {}

    def text(self, epoch, ms=None):
        local = epoch + self.shift
        day, second = divmod(local, 86400)
        d = self.days.get(day)
        if d is None:
            if len(self.days) > 1000:
                self.days.clear()
            d = self.days[day] = (datetime.date(1970, 1, 1) + datetime.timedelta(days=day)).isoformat()
        tail = self.offset if ms is None else f".{ms:03}{self.offset}"
        return f"{d}T{second // 3600:02}:{second // 60 % 60:02}:{second % 60:02}{tail}"

    @property
    def shift(self):
        s = self.__dict__.get("_shift")
        if s is None:
            s = self._shift = int(self.zone.utcoffset(None).total_seconds())
        return s


def name_of(rng, sex):
    return rng.choice(FAMILIES), rng.choice(GIVEN[sex])


class Hospital:
    def __init__(self, seed, patients, wards, days, name, rooms, observations, until):
        self.seed, self.days, self.name = seed, days, name
        self.rooms = max(rooms, -(-patients // (wards * (BEDS_IN_ROOM - 1) * (YEARS * 365 // days))))
        self.observations = observations
        self.times = Times(until)
        self.now = int(until.timestamp())
        self.begin_ms = (self.now - (YEARS + 1) * 366 * 86400) * 1000
        self.wards = [self._ward(n) for n in range(wards)]
        self.places = wards * self.rooms * (BEDS_IN_ROOM - 1)

    def _ward(self, n):
        rng = stable(self.seed, "ward", n)
        fresh = lambda: new_id(rng, self.begin_ms)
        label = WARDS[n] if n < len(WARDS) else f"{WARDS[n % len(WARDS)]} {n // len(WARDS) + 1}"
        w = {"id": fresh(), "name": label, "code": f"W{n + 1:03}", "admission": fresh(), "rooms": [], "beds": [], "spare": [], "staff": []}
        for r in range(self.rooms):
            w["rooms"].append(fresh())
            for b in range(BEDS_IN_ROOM):
                (w["spare"] if b == BEDS_IN_ROOM - 1 else w["beds"]).append((fresh(), r, b))
        for role, count in (("charge_nurse", 1), ("nurse", 6), ("doctor", 2), ("pharmacist", 1 if n % 4 == 0 else 0), ("registrar", 1 if n % 4 == 0 else 0)):
            for _ in range(count):
                family, given = name_of(rng, rng.choice(("female", "male")))
                w["staff"].append((fresh(), fresh(), role, family, given))
        w["nurses"] = [s[0] for s in w["staff"] if s[2] in ("nurse", "charge_nurse")]
        w["doctors"] = [s[0] for s in w["staff"] if s[2] == "doctor"]
        return w

    def write_structure(self, files):
        org = new_id(stable(self.seed, "organization"), self.begin_ms)
        files.write("Organization", [dump({"resourceType": "Organization", "id": org, "active": True,
                                           "type": [coded(HL7 + "organization-type", "prov", "Healthcare Provider")], "name": self.name})])
        kinds = {"wa": "Ward", "ro": "Room", "bd": "Bed"}

        def place(i, kind, label, code, parent, bed_status=None):
            r = {"resourceType": "Location", "id": i, "identifier": [{"system": "https://hospital.example/place", "value": code}], "status": "active"}
            if bed_status:
                r["operationalStatus"] = {"system": "http://terminology.hl7.org/CodeSystem/v2-0116", "code": bed_status}
            r.update({"name": label, "mode": "instance", "physicalType": coded(HL7 + "location-physical-type", kind, kinds[kind])})
            r["managingOrganization" if kind == "wa" else "partOf"] = {"reference": ("Organization/" if kind == "wa" else "Location/") + parent}
            return dump(r)

        for n, w in enumerate(self.wards):
            lines = [place(w["id"], "wa", w["name"], w["code"], org), place(w["admission"], "ro", w["name"] + " admission bay", w["code"] + "-ADM", w["id"])]
            for r, i in enumerate(w["rooms"]):
                lines.append(place(i, "ro", f"{w['name']} {r + 1}", f"{w['code']}-{r + 1}", w["id"]))
            for i, r, b in sorted(w["beds"] + w["spare"], key=lambda bed: bed[1:]):
                lines.append(place(i, "bd", f"{w['name']} {r + 1}{'ABC'[b]}", f"{w['code']}-{r + 1}{'ABC'[b]}", w["rooms"][r], "O" if b < 2 else "U"))
            files.write("Location", lines)
            people, roles = [], []
            for k, (i, role_id, role, family, given) in enumerate(w["staff"]):
                people.append(dump({"resourceType": "Practitioner", "id": i, "active": True, "name": [{"use": "official", "family": family, "given": given.split()}],
                                    "identifier": [{"system": "https://hospital.example/staff", "value": f"{n + 1:03}{k + 1:02}"}]}))
                roles.append(dump({"resourceType": "PractitionerRole", "id": role_id, "active": True, "practitioner": {"reference": "Practitioner/" + i},
                                   "organization": {"reference": "Organization/" + org},
                                   "code": [coded(ROLES[role], role, role.replace("_", " ").capitalize())], "location": [{"reference": "Location/" + w["id"]}]}))
            files.write("Practitioner", people)
            files.write("PractitionerRole", roles)

    def write_patient(self, files, number):
        Stay(self, number).write(files)


class Stay:
    """One patient with one stay, and everything that was written down in it."""

    def __init__(self, hospital, number):
        h = self.h = hospital
        self.number = number
        self.rng = stable(h.seed, "patient", number)
        layer, slot = divmod(number, h.places)
        w = self.ward = h.wards[slot % len(h.wards)]
        slot //= len(h.wards)
        self.bed = w["beds"][slot][0]
        self.next_bed = w["spare"][slot // (BEDS_IN_ROOM - 1)][0] if slot % (BEDS_IN_ROOM - 1) == 0 and self.rng.random() < 0.25 else None
        length = h.days * 86400
        self.start = h.now - (layer + 1) * length + self.rng.randrange(7200)
        self.active = layer == 0
        self.end = h.now if self.active else self.start + length - 7200 - 1800
        self.id = new_id(self.rng, self.start * 1000 - 3600000)
        self.encounter = new_id(self.rng, self.start * 1000)
        self.subject = f'"subject":{{"reference":"Patient/{self.id}"}},"encounter":{{"reference":"Encounter/{self.encounter}"}}'
        self.t = h.times.text

    def fresh(self, epoch):
        return new_id(self.rng, epoch * 1000)

    def nurse(self):
        return self.rng.choice(self.ward["nurses"])

    def doctor(self):
        return self.rng.choice(self.ward["doctors"])

    def write(self, files):
        self._person(files)
        self._encounter(files)
        self._allergies(files)
        self._conditions(files)
        self._orders(files)
        files.write("Observation", self._vitals())
        self._tasks(files)
        if self.rng.random() < 0.3:
            self._appointment(files)
        if self.rng.random() < 0.4:
            self._laboratory(files)

    def _person(self, files):
        rng = self.rng
        sex = rng.choices(("female", "male", "other", "unknown"), (49, 49, 1, 1))[0]
        family, given = name_of(rng, sex)
        city, country, post = rng.choice(CITIES)
        born = datetime.date(1926, 1, 1) + datetime.timedelta(days=rng.randrange(32500))
        mrn = f"{self.number + 1:09}"
        birth = born.isoformat() if rng.random() > 0.02 else born.isoformat()[:7]
        p = {"resourceType": "Patient", "id": self.id, "active": True,
             "identifier": [{"use": "usual", "type": coded(HL7 + "v2-0203", "MR", "Medical record number"), "system": MRN, "value": mrn + check_digit(mrn)}],
             "name": [{"use": "official", "family": family, "given": given.split(" ")}],
             "telecom": [{"system": "phone", "value": f"+353 91 {rng.randrange(100000, 999999)}", "use": "home"}], "gender": sex, "birthDate": birth,
             "address": [{"use": "home", "line": [f"{rng.randrange(1, 200)} {rng.choice(STREETS)}"], "city": city, "postalCode": post, "country": country}],
             "communication": [{"language": {"coding": [{"system": "urn:ietf:bcp:47", "code": rng.choice(LANGUAGES)}]}, "preferred": True}]}
        if rng.random() < 0.5:
            p["telecom"].append({"system": "email", "value": f"patient{self.number + 1}@mail.example"})
        if rng.random() < 0.6:
            f, g = name_of(rng, "female")
            p["contact"] = [{"name": {"family": f, "given": [g]}, "telecom": [{"system": "phone", "value": f"+353 87 {rng.randrange(1000000, 9999999)}"}]}]
        files.write("Patient", [dump(p)])

    def _encounter(self, files):
        moved = self.start + 1800 + self.rng.randrange(3600)
        period = lambda a, b: {"start": self.t(a), **({"end": self.t(b)} if b else {})}
        stays = [(self.ward["admission"], "ro", self.start, moved)]
        final = None if self.active else self.end
        if self.next_bed:
            half = (moved + self.end) // 2
            stays += [(self.bed, "bd", moved, half), (self.next_bed, "bd", half, final)]
        else:
            stays.append((self.bed, "bd", moved, final))
        code, display = self.reason = self.rng.choice(CONDITIONS)
        e = {"resourceType": "Encounter", "id": self.encounter, "status": "in-progress" if self.active else "finished",
             "class": {"system": HL7 + "v3-ActCode", "code": "IMP", "display": "inpatient encounter"},
             "type": [coded(SNOMED, "32485007", "Hospital admission")], "subject": {"reference": "Patient/" + self.id},
             "participant": [{"type": [{"coding": [{"system": HL7 + "v3-ParticipationType", "code": "ATND"}]}],
                              "individual": {"reference": "Practitioner/" + self.doctor()}}],
             "period": period(self.start, final), "reasonCode": [coded(SNOMED, code, display)],
             "location": [{"location": {"reference": "Location/" + i}, "status": "completed" if b else "active",
                           "physicalType": {"coding": [{"system": HL7 + "location-physical-type", "code": kind}]}, "period": period(a, b)}
                          for i, kind, a, b in stays]}
        files.write("Encounter", [dump(e)])

    def _allergies(self, files):
        rng = self.rng
        said = self.start + 2400
        base = lambda: {"resourceType": "AllergyIntolerance", "id": self.fresh(said),
                        "clinicalStatus": {"coding": [{"system": HL7 + "allergyintolerance-clinical", "code": "active"}]},
                        "verificationStatus": {"coding": [{"system": HL7 + "allergyintolerance-verification", "code": "confirmed"}]}}
        about = {"patient": {"reference": "Patient/" + self.id}, "recordedDate": self.t(said), "recorder": {"reference": "Practitioner/" + self.nurse()}}
        n = rng.choices((0, 1, 2), (60, 30, 10))[0]
        lines = []
        if n == 0 and rng.random() < 0.8:
            lines.append(dump({**base(), "code": coded(SNOMED, "716186003", "No known allergy"), **about}))
        for code, display, category, criticality, reaction in rng.sample(ALLERGIES, n):
            lines.append(dump({**base(), "type": "allergy", "category": [category], "criticality": criticality, "code": coded(SNOMED, code, display),
                               **about, "reaction": [{"manifestation": [{"text": reaction}]}]}))
        files.write("AllergyIntolerance", lines)

    def _conditions(self, files):
        lines = []
        for code, display in dict.fromkeys([self.reason, self.rng.choice(CONDITIONS)]):
            lines.append(dump({"resourceType": "Condition", "id": self.fresh(self.start),
                               "clinicalStatus": {"coding": [{"system": HL7 + "condition-clinical", "code": "active"}]},
                               "verificationStatus": {"coding": [{"system": HL7 + "condition-ver-status", "code": "confirmed"}]},
                               "category": [{"coding": [{"system": HL7 + "condition-category", "code": "encounter-diagnosis"}]}],
                               "code": coded(SNOMED, code, display), "subject": {"reference": "Patient/" + self.id},
                               "encounter": {"reference": "Encounter/" + self.encounter},
                               "onsetDateTime": self.t(self.start)[:self.rng.choice((4, 7, 10))], "recordedDate": self.t(self.start + 3000)}))
        files.write("Condition", lines)

    def _orders(self, files):
        rng = self.rng
        orders, tasks, given = [], [], []
        for m in rng.sample(MEDICINES, rng.randrange(2, 6)):
            code, name, dose, unit, ucum, (route, route_name), times, alert = m
            at = self.start + 3600 + rng.randrange(1800)
            i = self.fresh(at)
            stopped = not self.active or rng.random() < 0.1
            stop = min(self.end, at + rng.randrange(43200, 86400 * self.h.days)) if stopped else None
            quantity = f'{{"value":{dose},"unit":"{unit}","system":"{UCUM}","code":"{ucum}"}}'
            medicine = f'"medicationCodeableConcept":{{"coding":[{{"system":"{ATC}","code":"{code}","display":"{name}"}}],"text":"{name}"}}'
            way = f'"route":{{"coding":[{{"system":"{SNOMED}","code":"{route}","display":"{route_name}"}}]}}'
            bounds = f'"boundsPeriod":{{"start":"{self.t(at)}"' + (f',"end":"{self.t(stop)}"' if stop else "") + "}"
            timing = f'"timing":{{"repeat":{{{bounds}' + (f',"frequency":{times},"period":1,"periodUnit":"d"' if times else "") + "}}"
            text = f"{dose} {unit} {times} times a day" if times else f"{dose} {unit} as needed"
            more = '"asNeededBoolean":true,' if times == 0 else ""
            extension = '"extension":[{"url":"urn:everward:high-alert","valueBoolean":true}],' if alert else ""
            orders.append(
                f'{{"resourceType":"MedicationRequest","id":"{i}",{extension}"status":"{"stopped" if stop else "active"}","intent":"order","priority":"routine",{medicine},'
                f'{self.subject},"authoredOn":"{self.t(at)}","requester":{{"reference":"Practitioner/{self.doctor()}"}},'
                f'"dosageInstruction":[{{"text":"{text}",{timing},{more}{way},"doseAndRate":[{{"doseQuantity":{quantity}}}]}}]}}\n')
            if times == 0:
                continue
            step = 86400 // times
            due = at - at % 3600 + 3600
            number = 0
            last = stop if stop else self.h.now + HORIZON_H * 3600
            while due < last:
                number += 1
                when = self.t(due)
                slot = derived(i, f"{when}/{number}")
                x = rng.random() if due < self.h.now else 1
                state = "completed" if x < 0.96 else "failed" if x < 0.98 else "requested"
                tasks.append(
                    f'{{"resourceType":"Task","id":"{slot}","status":"{state}","intent":"order","code":{{"coding":[{{"system":"urn:everward:task","code":"due-dose"}}]}},'
                    f'"focus":{{"reference":"MedicationRequest/{i}"}},"for":{{"reference":"Patient/{self.id}"}},"encounter":{{"reference":"Encounter/{self.encounter}"}},'
                    f'"executionPeriod":{{"start":"{when}"}},"input":[{{"type":{{"coding":[{{"system":"urn:everward:task","code":"dose-number"}}]}},"valuePositiveInt":{number}}}]}}\n')
                if x < 0.98:
                    done = min(due + rng.randrange(-900, 1800), self.h.now)
                    reason = '"statusReason":[{"text":"Patient asleep"}],' if x >= 0.96 else ""
                    amount = f'"dosage":{{{way},"dose":{quantity}}}'
                    given.append(
                        f'{{"resourceType":"MedicationAdministration","id":"{self.fresh(done)}","status":"{"completed" if x < 0.96 else "not-done"}",{reason}{medicine},'
                        f'"subject":{{"reference":"Patient/{self.id}"}},"context":{{"reference":"Encounter/{self.encounter}"}},'
                        f'"supportingInformation":[{{"reference":"Task/{slot}"}}],"effectiveDateTime":"{self.t(done)}",'
                        f'"performer":[{{"actor":{{"reference":"Practitioner/{self.nurse()}"}}}}],"request":{{"reference":"MedicationRequest/{i}"}},{amount}}}\n')
                due += step
        files.write("MedicationRequest", orders)
        files.write("Task", tasks)
        files.write("MedicationAdministration", given)

    def _vitals(self):
        """Rounds of five: heart rate, blood pressure, temperature, oxygen, breaths; every four hours or as close as the number needs."""
        wanted = self.h.observations
        rounds = self.h.days * 6 if wanted is None else -(-wanted // 5)
        count = rounds * 5 if wanted is None else wanted
        first = self.start + 2700
        step = max(1, (self.end - first) // max(rounds, 1))
        random_, bits = self.rng.random, self.rng.getrandbits
        nurses = self.ward["nurses"]
        pulse, systolic, warm = 58 + 40 * random_(), 105 + 45 * random_(), 36.3 + 1.6 * random_()
        head = (f'"status":"final","category":[{{"coding":[{{"system":"{HL7}observation-category","code":"vital-signs"}}]}}],'
                '"code":{"coding":[{"system":"http://loinc.org","code":"')
        out = []
        for n in range(rounds):
            at = first + n * step + int(random_() * min(600, step))
            ms = at * 1000
            when = self.t(at) if n % 7 else self.t(at, bits(9))
            tail = (f'}},{self.subject},"effectiveDateTime":"{when}","issued":"{self.t(at + 20, n % 1000)}",'
                    f'"performer":[{{"reference":"Practitioner/{nurses[bits(16) % len(nurses)]}"}}],')
            t = f"{ms:012x}"
            t = f'{{"resourceType":"Observation","id":"{t[:8]}-{t[8:]}-7'
            for kind in range(min(5, count - n * 5)):
                x = bits(74)
                line = f'{t}{x >> 62:03x}-{0x8000 | x >> 48 & 0x3FFF:04x}-{x & 0xFFFFFFFFFFFF:012x}",{head}'
                if kind == 0:
                    line += (f'8867-4","display":"Heart rate"}}]{tail}"valueQuantity":{{"value":{int(pulse + 16 * random_() - 8)},"unit":"beats/minute",'
                             f'"system":"{UCUM}","code":"/min"}}}}\n')
                elif kind == 1:
                    high = int(systolic + 20 * random_() - 10)
                    low = int(high * 0.62 + 6 * random_())
                    mm = f'"unit":"mmHg","system":"{UCUM}","code":"mm[Hg]"'
                    line += (f'85354-9","display":"Blood pressure panel"}}]{tail}"component":['
                             f'{{"code":{{"coding":[{{"system":"{LOINC}","code":"8480-6","display":"Systolic blood pressure"}}]}},"valueQuantity":{{"value":{high},{mm}}}}},'
                             f'{{"code":{{"coding":[{{"system":"{LOINC}","code":"8462-4","display":"Diastolic blood pressure"}}]}},"valueQuantity":{{"value":{low},{mm}}}}}]}}\n')
                elif kind == 2:
                    line += (f'8310-5","display":"Body temperature"}}]{tail}"valueQuantity":{{"value":{warm + 0.8 * random_() - 0.4:.1f}0,"unit":"°C",'
                             f'"system":"{UCUM}","code":"Cel"}}}}\n')
                elif kind == 3:
                    line += (f'59408-5","display":"Oxygen saturation in Arterial blood by Pulse oximetry"}}]{tail}"valueQuantity":{{"value":{92 + 8 * random_():.1f},'
                             f'"unit":"%","system":"{UCUM}","code":"%"}}}}\n')
                else:
                    line += (f'9279-1","display":"Respiratory rate"}}]{tail}"valueQuantity":{{"value":{int(12 + 10 * random_())},"unit":"breaths/minute",'
                             f'"system":"{UCUM}","code":"/min"}}}}\n')
                out.append(line)
        return out

    def _tasks(self, files):
        lines = []
        for _ in range(self.rng.randrange(1, 4)):
            due = self.start + 7200 + self.rng.randrange(self.h.days * 86400)
            what = self.rng.choice(TASKS)
            state = "completed" if due < self.h.now - 3600 or not self.active else "requested"
            lines.append(dump({"resourceType": "Task", "id": self.fresh(due), "status": state, "intent": "order", "priority": self.rng.choice(("routine", "urgent")),
                               "code": {"coding": [{"system": "urn:everward:task", "code": "nursing"}], "text": what}, "description": what,
                               "for": {"reference": "Patient/" + self.id}, "encounter": {"reference": "Encounter/" + self.encounter},
                               "authoredOn": self.t(self.start + 3600), "requester": {"reference": "Practitioner/" + self.doctor()},
                               "owner": {"reference": "Practitioner/" + self.nurse()},
                               "restriction": {"period": {"end": self.t(due)}}, "location": {"reference": "Location/" + self.ward["id"]}}))
        files.write("Task", lines)

    def _appointment(self, files):
        at = self.end + 86400 * self.rng.randrange(7, 30)
        at -= at % 900
        files.write("Appointment", [dump({
            "resourceType": "Appointment", "id": self.fresh(self.end), "status": "booked", "description": "Follow-up visit",
            "reasonCode": [{"text": self.reason[1]}], "start": self.t(at), "end": self.t(at + 1800),
            "participant": [{"actor": {"reference": "Patient/" + self.id}, "required": "required", "status": "accepted"},
                            {"actor": {"reference": "Practitioner/" + self.doctor()}, "required": "required", "status": "accepted"}]})])

    def _laboratory(self, files):
        at = self.start + 5400
        taken = at + 1200
        order, specimen = self.fresh(at), self.fresh(taken)
        subject = {"subject": {"reference": "Patient/" + self.id}}
        lab = [{"coding": [{"system": SNOMED, "code": "108252007", "display": "Laboratory procedure"}]}]
        what = coded(LOINC, "58410-2", "Complete blood count panel - Blood by Automated count")
        done = self.rng.random() < 0.7
        files.write("ServiceRequest", [dump({
            "resourceType": "ServiceRequest", "id": order, "status": "completed" if done else "active", "intent": "order", "category": lab,
            "priority": "routine", "code": what, **subject, "encounter": {"reference": "Encounter/" + self.encounter},
            "authoredOn": self.t(at), "requester": {"reference": "Practitioner/" + self.doctor()}})])
        files.write("Specimen", [dump({
            "resourceType": "Specimen", "id": specimen, "accessionIdentifier": {"system": "https://hospital.example/specimen", "value": f"S{self.number + 1:08}"},
            "status": "available", "type": coded(SNOMED, "119297000", "Blood specimen"), **subject, "request": [{"reference": "ServiceRequest/" + order}],
            "collection": {"collector": {"reference": "Practitioner/" + self.nurse()}, "collectedDateTime": self.t(taken)}})])
        if done:
            files.write("DiagnosticReport", [dump({
                "resourceType": "DiagnosticReport", "id": self.fresh(taken + 3600), "basedOn": [{"reference": "ServiceRequest/" + order}], "status": "final",
                "category": [{"coding": [{"system": HL7 + "v2-0074", "code": "HM", "display": "Hematology"}]}], "code": what, **subject,
                "encounter": {"reference": "Encounter/" + self.encounter}, "effectiveDateTime": self.t(taken), "issued": self.t(taken + 3600, 40),
                "specimen": [{"reference": "Specimen/" + specimen}], "conclusion": "Within reference ranges"})])


def make(folder, *, seed, patients, wards, days, name, rooms=ROOMS, observations=None, until=None, progress=None):
    """Writes all files into folder; returns how many resources of each type."""
    hospital = Hospital(seed, patients, wards, days, name, rooms, observations, until or parse_time(UNTIL))
    files = Files(folder)
    complete = False
    try:
        hospital.write_structure(files)
        for number in range(patients):
            hospital.write_patient(files, number)
            if progress and (number % 256 == 255 or number == patients - 1):
                progress(number + 1)
        complete = True
    finally:
        files.close(complete)
    return files.counts
