-- Reads one job.
--
-- Arguments: job id.
-- Reply: the job as job.lua's answer() makes it, or nil.
-- Touches nothing.
return answer_of(take()) or false
