-- Gives a dedup key free, if the job holds it and its end is what gives it free.
delete from dedup where queue = ?1 and key = ?2 and job = ?3 and until_finished = 1
