-- One durable write per request: an observation with an idempotency key of its own. wrk -s write.lua URL -- TOKEN PATIENT
-- PAUSE_MS in the environment: each tablet waits about that long between two writes, as people do; without it, not at all.
local id, n = 0, 0
local prefix, headers, patient

function setup(thread)
   thread:set("id", id)
   id = id + 1
end

function init(args)
   patient = args[2]
   prefix = string.format("bench-%d-%d-", os.time(), id)
   headers = { ["Content-Type"] = "application/json", ["Authorization"] = "Bearer " .. args[1] }
end

function request()
   n = n + 1
   headers["Idempotency-Key"] = prefix .. n
   local body = string.format('{"patient_id":"%s","status":"final","category":"vital-signs","code_system":"http://loinc.org",' ..
      '"code":"8867-4","display":"Heart rate","value_decimal":"%d.50","value_unit":"/min","value_unit_code":"/min"}', patient, 60 + n % 60)
   return wrk.format("POST", "/api/v1/observation", headers, body)
end

local pause = tonumber(os.getenv("PAUSE_MS") or "0")
if pause > 0 then
   function delay() return math.random(pause * 0.5, pause * 1.5) end
end

local bad = 0
function response(status)
   if status ~= 201 then bad = bad + 1 end
end

function done(summary, latency)
   local e = summary.errors
   io.write(string.format('RESULT {"requests":%d,"seconds":%.3f,"p50_ms":%.3f,"p99_ms":%.3f,"max_ms":%.3f,"errors":%d}\n', summary.requests,
      summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3, latency.max / 1e3,
      e.connect + e.read + e.write + e.status + e.timeout))
end
